import { formatBytes, formatDuration } from "@dormouse/base";
import { Connection, type OrganisationRole, readCredentials, saveCredentials } from "@dormouse/sdk";
import { type Command, Option } from "commander";
import { parseDuration, relativeTime } from "../duration.ts";
import { usageError } from "../exit.ts";
import { printFields, printJson, printLine, printTable } from "../output.ts";
import { allowanceFields } from "../quota-view.ts";
import { parseSize } from "../size.ts";

interface Json {
  json?: boolean;
}

export default function org(command: Command): void {
  addOrganisations(command);
  addMembers(command);
  addInvitations(command);
  addAccounting(command);
}

function addOrganisations(command: Command): void {
  command
    .command("list")
    .description("List the organisations that you are in")
    .option("--json", "print the list as JSON")
    .action(async ({ json }: Json) => {
      const connection = await Connection.open();
      const { organisations } = await connection.api.organisations.list({});
      if (json) return printJson(organisations);
      const usual = connection.organisation ?? "personal";
      printTable(
        ["NAME", "YOUR ROLE", "MEMBERS", "CREATED", ""],
        organisations.map(({ id, name, role, members, createdAt }) => [
          ...[name, role, String(members), relativeTime(createdAt)],
          name === usual || id === usual ? "meant when none is named" : "",
        ]),
      );
    });
  command
    .command("create <name>")
    .description("Create an organisation; you are its owner")
    .option("--json", "print it as JSON")
    .action(async (name: string, { json }: Json) => {
      const made = await (await Connection.open()).api.organisations.create({ name });
      if (json) printJson(made);
      else printLine(`${made.name} is there, and you own it: dormouse org invite ${made.name}`);
    });
  command
    .command("show <organisation>")
    .description("Show an organisation, and what it has of what it may have")
    .option("--json", "print it as JSON")
    .action(async (organisation: string, { json }: Json) => {
      const { api } = await Connection.open();
      const shown = await api.organisations.get({ organisation });
      const has = await api.organisations.quota({ organisation });
      if (json) return printJson({ ...shown, quota: has });
      printFields([
        ["name", shown.name],
        ["id", shown.id],
        ["your role", shown.role],
        ["members", String(shown.members)],
        ["created", `${shown.createdAt} (${relativeTime(shown.createdAt)})`],
        ...allowanceFields(has),
      ]);
    });
  command
    .command("use <organisation>")
    .description("Save the organisation that is meant when none is named; `personal` is your own")
    .action(async (organisation: string) => {
      const saved = await readCredentials();
      if (!saved) throw usageError("nothing is saved here: run `dormouse login` first, or set DORMOUSE_ORG");
      const { name } = await new Connection(saved).api.organisations.get({ organisation });
      await saveCredentials({ ...saved, organisation: name });
      printLine(`${name} is meant when none is named.`);
    });
  command
    .command("rename <organisation> <name>")
    .description("Rename an organisation")
    .action(async (organisation: string, name: string) => {
      await (await Connection.open()).api.organisations.rename({ organisation, name });
      printLine(`${organisation} is called ${name} now.`);
    });
  command
    .command("delete <organisation>")
    .description("Delete an organisation that has no workspaces, templates and prebuilds")
    .action(async (organisation: string) => {
      await (await Connection.open()).api.organisations.delete({ organisation });
      printLine(`${organisation} is deleted.`);
    });
}

function addMembers(command: Command): void {
  command
    .command("members <organisation>")
    .description("List who is in an organisation")
    .option("--json", "print the list as JSON")
    .action(async (organisation: string, { json }: Json) => {
      const { members } = await (await Connection.open()).api.organisations.members({ organisation });
      if (json) return printJson(members);
      printTable(
        ["E-MAIL", "NAME", "ROLE", "SINCE"],
        members.map(({ email, name, role, since }) => [email, name, role, relativeTime(since)]),
      );
    });
  command
    .command("role <organisation> <member> <role>")
    .description("Make a member (by e-mail address) an owner, an admin or a member")
    .action(async (organisation: string, member: string, text: string) => {
      const role = parseRole(text);
      const { email } = await (await Connection.open()).api.organisations.setRole({ organisation, member, role });
      printLine(`${email} is ${role === "member" ? "a" : "an"} ${role} of ${organisation} now.`);
    });
  command
    .command("remove <organisation> <member>")
    .description("Remove somebody (by e-mail address); their workspaces stay, asleep, for owners and admins to delete")
    .action(async (organisation: string, member: string) => {
      await (await Connection.open()).api.organisations.removeMember({ organisation, member });
      printLine(`${member} is not in ${organisation} any more.`);
    });
  command
    .command("leave <organisation>")
    .description("Leave an organisation; your workspaces stay there, and are closed to you")
    .action(async (organisation: string) => {
      const { api } = await Connection.open();
      const { id: member } = await api.me.get({});
      await api.organisations.removeMember({ organisation, member });
      printLine(`You are not in ${organisation} any more.`);
    });
}

function addInvitations(command: Command): void {
  command
    .command("invite <organisation>")
    .description("Make a link by which one person can join, once")
    .addOption(new Option("--role <role>", "what they are then").choices(["member", "admin"]).default("member"))
    .option("--expires <time>", "how long it counts, e.g. 1h, 7d", "7d")
    .option("--json", "print it as JSON")
    .addHelpText("after", "\nThe link is shown once. Who has no account makes one there; no mail is sent.")
    .action(async (organisation: string, flags: { role: "member" | "admin"; expires: string } & Json) => {
      const { role } = flags;
      const expiresInSeconds = parseDuration("--expires", flags.expires);
      const made = await (await Connection.open()).api.organisations.invite({ organisation, role, expiresInSeconds });
      if (flags.json) return printJson(made);
      printLine(made.url);
      printLine(
        `For one person, who joins ${organisation} as ${role}; it counts for ${formatDuration(expiresInSeconds * 1000)}.`,
      );
    });
  command
    .command("invitations <organisation>")
    .description("List invitations that count still")
    .option("--json", "print the list as JSON")
    .action(async (organisation: string, { json }: Json) => {
      const { invitations } = await (await Connection.open()).api.organisations.invitations({ organisation });
      if (json) return printJson(invitations);
      printTable(
        ["ID", "ROLE", "BY", "MADE", "EXPIRES"],
        invitations.map(({ id, role, inviter, createdAt, expiresAt }) => [
          ...[id, role, inviter, relativeTime(createdAt), relativeTime(expiresAt)],
        ]),
      );
    });
  command
    .command("revoke <organisation> <invitation>")
    .description("Revoke an invitation, by its id")
    .action(async (organisation: string, id: string) => {
      await (await Connection.open()).api.organisations.revokeInvitation({ organisation, id });
      printLine(`${id} lets nobody in any more.`);
    });
  command
    .command("join <link>")
    .description("Join an organisation with the link of an invitation")
    .action(async (link: string) => {
      const token = /^dmi_/.test(link) ? link : /#token=(dmi_[^&]+)$/.exec(link)?.[1];
      if (token === undefined) throw usageError("link: it must be the link of an invitation, ending in #token=dmi_…");
      const { name, role } = await (await Connection.open()).api.organisations.join({ token });
      printLine(`You are in ${name} now, as ${role}: dormouse create --org ${name}`);
    });
}

function addAccounting(command: Command): void {
  command
    .command("quota <organisation>")
    .description("Show what an organisation has of what it may have; the administrator sets it")
    .option("--workspaces <number>", "so many at once, of all its people; none: no limit")
    .option("--snapshot-bytes <size>", "what all its snapshots may take in the store, e.g. 50G; none: no limit")
    .option("--json", "print it as JSON")
    .action(async (organisation: string, flags: { workspaces?: string; snapshotBytes?: string } & Json) => {
      const { api } = await Connection.open();
      const set = {
        ...(flags.workspaces !== undefined && {
          workspaces: parseLimit("--workspaces", flags.workspaces, parseNumber),
        }),
        ...(flags.snapshotBytes !== undefined && {
          snapshotBytes: parseLimit("--snapshot-bytes", flags.snapshotBytes, parseBytes),
        }),
      };
      const has =
        Object.keys(set).length > 0
          ? await api.organisations.setQuota({ organisation, ...set })
          : await api.organisations.quota({ organisation });
      if (flags.json) printJson(has);
      else printFields(allowanceFields(has));
    });
  command
    .command("usage <organisation>")
    .description("Show what its people have, and how long their machines ran in the last 30 days")
    .option("--json", "print it as JSON")
    .action(async (organisation: string, { json }: Json) => {
      const { people } = await (await Connection.open()).api.organisations.usage({ organisation });
      if (json) return printJson(people);
      printTable(
        ["E-MAIL", "WORKSPACES", "SNAPSHOTS", "AWAKE", "BY vCPUS"],
        people.map(({ email, workspaces, snapshotBytes, awakeSeconds, vcpuSeconds }) => [
          ...[email, String(workspaces), formatBytes(snapshotBytes)],
          ...[formatDuration(awakeSeconds * 1000), formatDuration(vcpuSeconds * 1000)],
        ]),
      );
    });
}

function parseRole(text: string): OrganisationRole {
  if (text === "owner" || text === "admin" || text === "member") return text;
  throw usageError(`role is ${JSON.stringify(text)}: it must be owner, admin or member`);
}

function parseLimit(what: string, text: string, parse: (what: string, text: string) => number): number | null {
  return text === "none" ? null : parse(what, text);
}

function parseNumber(what: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw usageError(`${what} is ${JSON.stringify(text)}: it must be a whole number, or none`);
}

/** As a number too, so that what was measured can be set. */
function parseBytes(what: string, text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : parseSize(what, text);
}

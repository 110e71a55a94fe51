import { DormouseError, formatDuration, sleep } from "@dormouse/base";
import { Connection, type Prebuild } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { interruptible } from "../exit.ts";
import { paint, printFields, printJson, printLine, printTable } from "../output.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { createStepReporter } from "../step-reporter.ts";
import { classifyRepository } from "./create.ts";

interface RunFlags {
  ref?: string;
  devcontainer?: string;
  org?: string;
  wait: boolean;
  json?: boolean;
}

const askEveryMs = 500;

export default function prebuild(command: Command): void {
  command
    .command("run <repository>")
    .description("Set a repository's workspaces up ahead, now and by the triggers of its devcontainer.json")
    .option("--ref <ref>", "branch or tag; also as REPOSITORY@REF")
    .option("--devcontainer <name>", "which of its definitions")
    .option("--org <name>", "whose workspaces start from it; default as for `create`")
    .option("--no-wait", "do not wait until it is made")
    .option("--json", "print the prebuild as JSON")
    .addHelpText("after", "\nCtrl-C ends the waiting, not the prebuild.")
    .action(async (text: string, flags: RunFlags) => {
      const { repository, ref } = splitRef(text);
      if (ref !== undefined && flags.ref !== undefined) {
        throw new DormouseError("invalid_argument", `--ref is ${flags.ref}, and the repository is given with ${ref}`);
      }
      const source = classifyRepository(repository);
      if (source.kind === "folder") {
        throw new DormouseError(
          "invalid_argument",
          `${repository} is a folder here: give the address that its workspaces are to be opened with`,
        );
      }
      const { api, organisation: usual } = await Connection.open();
      const organisation = flags.org ?? usual;
      const wanted = { repository: source.url, ref: flags.ref ?? ref, devcontainer: flags.devcontainer, organisation };
      const began = await api.prebuilds.run(wanted);
      const beganMs = performance.now();
      const ended = flags.wait ? await interruptible((signal) => waitShown(api, began, signal)) : began;
      if (flags.json) printJson(ended);
      else if (!flags.wait)
        printLine(`${paint("bold", ended.id)} waits; dormouse prebuild show ${ended.id} tells of it.`);
      else printLine(`${paint("bold", ended.id)} is ready (${formatDuration(performance.now() - beganMs)}).`);
    });
  command
    .command("list")
    .description("List prebuilds")
    .option("--json", "print the list as JSON")
    .action(async (flags: { json?: boolean }) => {
      const { api } = await Connection.open();
      const { prebuilds } = await api.prebuilds.list({});
      if (flags.json) return printJson(prebuilds);
      printTable(
        ["ID", "REPOSITORY", "REF", "STATE", "COMMIT", "BUILT", "TRIGGERS"],
        prebuilds.map((each) => [
          ...[each.id, each.repository, each.ref ?? "-", each.state, each.commit?.slice(0, 12) ?? "-"],
          ...[each.builtAt === null ? "-" : relativeTime(each.builtAt), triggersOf(each)],
        ]),
      );
    });
  command
    .command("show <prebuild>")
    .description("Show a prebuild")
    .option("--json", "print it as JSON")
    .action(async (id: string, flags: { json?: boolean }) => {
      const { api } = await Connection.open();
      const shown = await api.prebuilds.get({ prebuild: id });
      if (flags.json) return printJson(shown);
      const at = (moment: string | null) => (moment === null ? "-" : `${moment} (${relativeTime(moment)})`);
      printFields([
        ["id", shown.id],
        ["organisation", shown.organisation],
        ["repository", shown.repository],
        ["ref", shown.ref ?? "-"],
        ...(shown.devcontainer === null ? [] : ([["definition", shown.devcontainer]] as const)),
        ...(shown.parentId === null ? [] : ([["pull request of", shown.parentId]] as const)),
        ["state", shown.reason === null ? shown.state : `${shown.state}: ${shown.reason}`],
        ...(shown.problem === null ? [] : ([["problem", shown.problem]] as const)),
        ["commit", shown.commit ?? "-"],
        ["built", at(shown.builtAt)],
        ["kept until", at(shown.expiresAt)],
        ["triggers", triggersOf(shown)],
        ["next", at(shown.nextAt)],
      ]);
    });
  command
    .command("logs <prebuild>")
    .description("Show what a prebuild wrote when it was made last")
    .action(async (id: string) => {
      const { api } = await Connection.open();
      process.stdout.write((await api.prebuilds.logs({ prebuild: id })).text);
    });
  command
    .command("hook <prebuild>")
    .description("Show the address and the secret of its webhook, for the git server's settings")
    .option("--json", "print them as JSON")
    .action(async (id: string, flags: { json?: boolean }) => {
      const connection = await Connection.open();
      const { path, secret } = await connection.api.prebuilds.hook({ prebuild: id });
      const hook = { url: new URL(path, connection.url).href, secret };
      if (flags.json) return printJson(hook);
      printFields([
        ["address", hook.url],
        ["secret", hook.secret],
      ]);
    });
  command
    .command("delete <prebuild...>")
    .description("Delete prebuilds; workspaces that exist are not touched")
    .action(async (ids: string[]) => {
      const { api } = await Connection.open();
      for (const id of ids) {
        await api.prebuilds.delete({ prebuild: id });
        printLine(`${id} is deleted.`);
      }
    });
}

/** What stands behind the `@` after a repository's address; one before it, or in the server's name, is another. */
export function splitRef(text: string): { repository: string; ref?: string } {
  const [, server = "", path = ""] = /^([a-z][a-z0-9+.-]*:\/\/[^/]*\/|[^/\s:]+:)?(.*)$/i.exec(text) ?? [];
  const at = path.indexOf("@");
  if (at <= 0 || at === path.length - 1) return { repository: text };
  return { repository: server + path.slice(0, at), ref: path.slice(at + 1) };
}

type Api = Connection["api"];

async function waitShown(api: Api, began: Prebuild, signal: AbortSignal): Promise<Prebuild> {
  using display = createProgressDisplay();
  const steps = createStepReporter(display.progress);
  try {
    for (;;) {
      const now = await api.prebuilds.get({ prebuild: began.id }, { signal });
      if (now.state === "failed") {
        throw new DormouseError(
          "failed_precondition",
          `${now.problem}; dormouse prebuild logs ${now.id} has all of it`,
        );
      }
      if (now.state === "ready" || now.state === "expired") {
        steps.end("done");
        return now;
      }
      const last = now.state === "building" ? await lastLine(api, now.id, signal) : "Waiting for those before it";
      steps.report({ step: now.state, message: last });
      await sleep(askEveryMs, signal);
    }
  } catch (error) {
    steps.end("failed");
    throw error;
  }
}

async function lastLine(api: Api, id: string, signal: AbortSignal): Promise<string> {
  const { text } = await api.prebuilds.logs({ prebuild: id }, { signal });
  const line = text.trimEnd().split("\n").at(-1) ?? "";
  return line === "" ? "Prebuilding" : `Prebuilding: ${line.replace(/^\S+ /, "").slice(0, 120)}`;
}

function triggersOf({ triggers }: Prebuild): string {
  return triggers.map((trigger) => (typeof trigger === "string" ? trigger : `cron ${trigger.cron}`)).join(", ") || "-";
}

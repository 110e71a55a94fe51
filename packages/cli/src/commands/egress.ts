import { formatBytes } from "@dormouse/base";
import { Connection, type EgressLayer, type EgressMode, Workspace, type WorkspaceEgress } from "@dormouse/sdk";
import { type Command, Option } from "commander";
import { relativeTime } from "../duration.ts";
import { exitCodes, usageError } from "../exit.ts";
import { paint, printFields, printJson, printLine, printTable } from "../output.ts";

const rulesHelp =
  "\nA rule is [web:|tcp:|udp:|icmp:|any:]HOST[:PORTS], such as registry.example, *.example.com:8443, tcp:git.example:22 or " +
  "10.1.0.0/16:5432, or preset:NAME.";

export default function egress(command: Command): void {
  command
    .command("show <workspace>")
    .description("Show what may leave a workspace, and which layer says so")
    .option("--json", "print it as JSON")
    .action(async (reference: string, options: { json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const shown = await workspace.egress.show();
      if (options.json) printJson(shown);
      else printEgress(workspace.name, shown);
    });
  for (const [verb, description] of [
    ["allow", "Allow places, from now on"],
    ["deny", "Deny places, whatever allows them; open connections there are cut"],
  ] as const) {
    command
      .command(`${verb} <workspace> <rule...>`)
      .description(description)
      .addHelpText("after", rulesHelp)
      .action(async (reference: string, rules: string[]) => {
        const workspace = await Workspace.connect(reference);
        await workspace.egress[verb](...rules);
        printLine(`${workspace.name} ${verb === "allow" ? "may reach" : "may not reach"} ${rules.join(", ")} now.`);
      });
  }
  command
    .command("mode <workspace> <mode>")
    .description(
      "Set what a workspace may reach beside its rules: open, default (registries and its own git host) or none",
    )
    .action(async (reference: string, text: string) => {
      const mode = parseMode("mode", text);
      const workspace = await Workspace.connect(reference);
      const { layers } = await workspace.egress.show();
      printEgress(workspace.name, await workspace.egress.set({ ...layers.workspace, mode }));
    });
  command
    .command("log <workspace>")
    .description("Show where a workspace wanted to go and was not let")
    .option("--json", "print it as JSON")
    .action(async (reference: string, options: { json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const log = await workspace.egress.log();
      if (options.json) return printJson(log);
      const { refusals, hours, counters } = log;
      if (refusals.length === 0) printLine(paint("dim", `Nothing was refused to ${workspace.name}.`));
      else {
        printTable(
          ["LAST", "COUNT", "NAME", "ADDRESS", "PORT", "PROTOCOL", "REASON", "ALLOW WITH"],
          refusals.map(({ lastAt, count, name, address, port, protocol, reason, rule }) => [
            ...[relativeTime(lastAt), String(count), name ?? "-", address ?? "-", String(port), protocol, reason],
            rule ?? "-",
          ]),
        );
      }
      const dayAgo = new Date(Date.now() - 86_400_000).toISOString();
      const ofDay = hours.filter(({ at }) => at >= dayAgo).reduce((sum, { count }) => sum + count, 0);
      if (refusals.length > 0) printLine(paint("dim", `${ofDay} refusals in the last day`));
      if (counters) printLine(paint("dim", describeCounters(counters)));
    });
  command
    .command("test <workspace> <place>")
    .description("Say whether a connection to HOST:PORT would be let out; opens none")
    .addOption(
      new Option("--protocol <protocol>", "what would be spoken").choices(["web", "tcp", "udp"]).default("web"),
    )
    .option("--json", "print it as JSON")
    .action(async (reference: string, place: string, options: { protocol: "web" | "tcp" | "udp"; json?: boolean }) => {
      const [, host = "", port = ""] = /^([^:\s]+):(\d{1,5})$/.exec(place) ?? [];
      if (host === "")
        throw usageError(`place is ${JSON.stringify(place)}: it must be HOST:PORT, such as pypi.org:443`);
      const workspace = await Workspace.connect(reference);
      const { protocol } = options;
      const decision = await workspace.egress.test({ host, port: Number(port), protocol });
      if (options.json) printJson(decision);
      else {
        const verdict = decision.isAllowed ? paint("green", "allowed") : paint("red", "refused");
        printLine(`${place} is ${verdict}: ${decision.reason}`);
      }
      if (!decision.isAllowed) process.exitCode = exitCodes.failed;
    });
  command
    .command("layer <scope> [name]")
    .description(
      "Show or replace what the installation, an organisation, a template or a repository says; replacing is the " +
        "administrator's, and for an organisation that of its owners and admins",
    )
    .option("--mode <mode>", "open, default or none")
    .option("--allow <rules...>", "places that are allowed")
    .option("--deny <rules...>", "places that are denied")
    .option("--cap <rules...>", "places beyond which nothing is allowed")
    .option("--clear", "say nothing any more")
    .addHelpText("after", rulesHelp)
    .action(async (scope: string, name: string | undefined, flags: LayerFlags) => {
      const key = { scope: parseScope(scope), ...(name !== undefined && { name }) };
      const connection = await Connection.open();
      const { mode, allow, deny, cap, clear } = flags;
      const layer: EgressLayer = {
        ...(mode !== undefined && { mode: parseMode("--mode", mode) }),
        ...(allow && { allow }),
        ...(deny && { deny }),
        ...(cap && { cap }),
      };
      const isChanged = clear === true || Object.keys(layer).length > 0;
      printJson(
        isChanged ? await connection.api.egress.setLayer({ ...key, layer }) : await connection.api.egress.layer(key),
      );
    });
}

interface LayerFlags {
  mode?: string;
  allow?: string[];
  deny?: string[];
  cap?: string[];
  clear?: boolean;
}

const scopes = ["installation", "organisation", "template", "repository"] as const;

function parseScope(text: string): (typeof scopes)[number] {
  const scope = scopes.find((each) => each === text);
  if (scope) return scope;
  throw usageError(`scope is ${JSON.stringify(text)}: it must be installation, organisation, template or repository`);
}

/** @throws DormouseError naming what was given and what would be right. */
export function parseMode(what: string, text: string): EgressMode {
  if (text === "open" || text === "default" || text === "none") return text;
  throw usageError(`${what} is ${JSON.stringify(text)}: it must be open, default or none`);
}

function printEgress(name: string, { policy, layers, proposed, counters }: WorkspaceEgress): void {
  const isOpen = policy.mode === "open";
  printFields([
    [
      "egress",
      isOpen ? paint("red", "open: everything that nothing denies leaves") : "what is allowed leaves, and nothing else",
    ],
    ...(isOpen ? [] : ([["allowed", policy.allow.join(", ") || "nothing"]] as const)),
    ...(policy.deny.length === 0 ? [] : ([["denied", policy.deny.join(", ")]] as const)),
    ...policy.caps.map((cap) => ["within", cap.join(", ") || "nothing"] as const),
    ...Object.entries(layers).flatMap(([layer, says]) =>
      Object.keys(says).length === 0 ? [] : [[`from ${layer}`, describeLayer(says)] as const],
    ),
    ...(counters ? ([["passed", describeCounters(counters)]] as const) : []),
  ]);
  if (proposed.length === 0) return;
  printLine(
    `Its devcontainer.json asks for ${proposed.join(", ")}: dormouse egress allow ${name} ${proposed.join(" ")}`,
  );
}

function describeLayer({ mode, allow, deny, cap }: EgressLayer): string {
  const parts = [
    mode ?? "",
    allow?.length ? `allow ${allow.join(", ")}` : "",
    deny?.length ? `deny ${deny.join(", ")}` : "",
    cap && `cap ${cap.join(", ")}`,
  ];
  return parts.filter(Boolean).join("; ");
}

function describeCounters({
  sentBytes,
  receivedBytes,
  refusedPackets,
}: NonNullable<WorkspaceEgress["counters"]>): string {
  return `${formatBytes(sentBytes)} sent, ${formatBytes(receivedBytes)} received, ${refusedPackets} packets refused`;
}

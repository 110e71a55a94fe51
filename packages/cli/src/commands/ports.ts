import { type DormouseError, formatDuration } from "@dormouse/base";
import { type PortVisibility, portNumber, portProtocol, portVisibility } from "@dormouse/contract";
import { type ForwardedPort, Workspace } from "@dormouse/sdk";
import { type Command, Option } from "commander";
import { parseDuration, relativeTime } from "../duration.ts";
import { interruptible, usageError } from "../exit.ts";
import { paint, printJson, printLine, printTable } from "../output.ts";
import { forwardPort, parsePortPair } from "../ports/forward.ts";

interface SetFlags {
  label?: string;
  protocol?: ForwardedPort["protocol"];
  stop?: boolean;
  start?: boolean;
  json?: boolean;
}

export default function ports(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--json", "print the list as JSON")
    .addHelpText("after", "\nWithout a command: what listens, what the definition names, what was set.")
    .action(async (reference: string, options: { json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const all = await workspace.ports.list();
      if (options.json) return printJson(all);
      if (all.length === 0) return printLine(paint("dim", `Nothing listens in ${workspace.name}.`));
      printTable(
        ["PORT", "LABEL", "PROCESS", "PROTOCOL", "VISIBILITY", "ADDRESS"],
        all.map((port) => [
          String(port.port),
          port.label ?? "-",
          port.isListening ? (port.process ?? "?") : "-",
          port.protocol,
          port.isForwarded ? port.visibility : "stopped",
          port.url ?? "-",
        ]),
      );
    });
  command
    .command("share <workspace> <port>")
    .description("Set who may open a port")
    .addOption(
      new Option("--visibility <who>", "whoever owns the workspace, everybody in an organisation of theirs, or anybody")
        .choices(portVisibility.options)
        .makeOptionMandatory(),
    )
    .option("--json", "print the port as JSON")
    .action(async (reference: string, port: string, flags: { visibility: PortVisibility; json?: boolean }) => {
      const number = parsePort(port);
      const workspace = await Workspace.connect(reference);
      printPort(await workspace.ports.set(number, { visibility: flags.visibility }), flags);
    });
  command
    .command("set <workspace> <port>")
    .description("Name a port, say what it speaks, stop forwarding it")
    .option("--label <text>", "what it is called; empty: as the definition says")
    .addOption(new Option("--protocol <protocol>", "what its server speaks").choices(portProtocol.options))
    .option("--stop", "answer nobody at its address")
    .option("--start", "answer again")
    .option("--json", "print the port as JSON")
    .action(async (reference: string, port: string, flags: SetFlags) => {
      const number = parsePort(port);
      const { label, protocol, stop, start } = flags;
      if (stop && start) throw usageError("--stop and --start together say nothing");
      const setting = {
        ...(label !== undefined && { label: label === "" ? null : label }),
        ...(protocol !== undefined && { protocol }),
        ...((stop || start) && { isForwarded: start === true }),
      };
      if (Object.keys(setting).length === 0)
        throw usageError("there is nothing to set: --label, --protocol, --stop, --start");
      const workspace = await Workspace.connect(reference);
      printPort(await workspace.ports.set(number, setting), flags);
    });
  command
    .command("link <workspace> <port>")
    .description("Make a link that opens a port for whoever has it")
    .option("--for <time>", "how long it works", "1d")
    .option("--json", "print the link as JSON")
    .action(async (reference: string, port: string, flags: { for: string; json?: boolean }) => {
      const number = parsePort(port);
      const expiresInSeconds = parseDuration("--for", flags.for);
      const workspace = await Workspace.connect(reference);
      const link = await workspace.ports.createLink(number, { expiresInSeconds });
      if (flags.json) return printJson(link);
      printLine(link.url);
      process.stderr.write(
        `Works for ${formatDuration(expiresInSeconds * 1000)}; dormouse ports revoke ${reference} ${port} ${link.id} ends it.\n`,
      );
    });
  command
    .command("links <workspace> <port>")
    .description("List the links to a port")
    .option("--json", "print the list as JSON")
    .action(async (reference: string, port: string, flags: { json?: boolean }) => {
      const number = parsePort(port);
      const links = await (await Workspace.connect(reference)).ports.links(number);
      if (flags.json) return printJson(links);
      if (links.length === 0) return printLine(paint("dim", `There are no links to port ${port}.`));
      const rows = links.map(({ id, createdAt, expiresAt }) => [id, relativeTime(createdAt), relativeTime(expiresAt)]);
      printTable(["ID", "MADE", "EXPIRES"], rows);
    });
  command
    .command("revoke <workspace> <port> <link>")
    .description("End a link, and what was opened with it")
    .action(async (reference: string, port: string, link: string) => {
      const number = parsePort(port);
      await (await Workspace.connect(reference)).ports.revokeLink(number, link);
      printLine(`${link} is revoked.`);
    });
  command
    .command("forward <workspace> <ports...>")
    .description("Forward ports of this machine to the workspace's, as raw TCP: LOCAL:REMOTE, or one number for both")
    .action(async (reference: string, texts: string[]) => {
      const pairs = texts.map(parsePortPair);
      const workspace = await Workspace.connect(reference);
      await interruptible(async (signal) => {
        await using forwardings = new AsyncDisposableStack();
        for (const pair of pairs) {
          const onRefusal = (error: DormouseError) =>
            process.stderr.write(`${paint("red", "dormouse:")} ${pair.remote}: ${error.message}\n`);
          const { localPort } = forwardings.use(await forwardPort({ workspace, pair, onRefusal }));
          printLine(`127.0.0.1:${localPort} is port ${pair.remote} of ${workspace.name}`);
        }
        process.stderr.write(paint("dim", "Ctrl-C ends it.\n"));
        await new Promise<void>((end) => {
          if (signal.aborted) end();
          signal.addEventListener("abort", () => end(), { once: true });
        });
      });
    });
}

function parsePort(text: string): number {
  const { data, error } = portNumber.safeParse(/^\d+$/.test(text) ? text : Number.NaN);
  if (error) throw usageError(`port is ${JSON.stringify(text)}: it must be a number from 1 to 65535`);
  return data;
}

function printPort(port: ForwardedPort, flags: { json?: boolean }): void {
  if (flags.json) printJson(port);
  else printLine(describe(port));
}

function describe({ port, label, visibility, isForwarded, protocol, url }: ForwardedPort): string {
  const name = `Port ${port}${label === null ? "" : ` (${label})`}`;
  if (!isForwarded) return `${name} is not forwarded.`;
  return `${name} is ${visibility}, ${protocol}${url === null ? "" : `: ${url}`}`;
}

import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { Secrets } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { usageError } from "../exit.ts";
import { paint, printJson, printLine, printTable } from "../output.ts";

interface SetFlags {
  host?: string[];
  repo?: string[];
  org?: string;
  insecure?: boolean;
}

export default function secret(command: Command): void {
  command
    .command("set <name>")
    .description("Set a secret; its value is read from the input, or asked for without showing it")
    .option("--host <name...>", "where the value may go: api.example.com, or *.example.com for all below it")
    .option("--repo <address...>", "only workspaces of these repositories get it; default: all")
    .option("--org <name>", "whose it is; default: your own")
    .option("--insecure", "send it by plain HTTP too, where anybody on the way reads it")
    .addHelpText(
      "after",
      "\nWorkspaces get a placeholder as variable NAME. Dormouse replaces it in headers of requests to these hosts, and " +
        "nowhere else.\nFor example: gh auth token | dormouse secret set GITHUB_TOKEN --host api.github.com",
    )
    .action(async (name: string, flags: SetFlags) => {
      const hosts = (flags.host ?? []).flatMap((host) => host.split(",")).filter((host) => host !== "");
      if (hosts.length === 0)
        throw usageError("--host is missing: it says where the value may go, such as --host api.github.com");
      const secrets = await Secrets.open(flags.org === undefined ? {} : { organisation: flags.org });
      const value = await readValue(name);
      const repositories = flags.repo ?? null;
      const set = await secrets.set(name, { value, hosts, repositories, insecure: flags.insecure ?? false });
      printLine(`${name} goes to ${set.hosts.join(", ")}. Programs that are started from now on find its variable.`);
      for (const note of set.notes) printLine(paint("yellow", note));
    });
  command
    .command("list")
    .description("List secrets, without their values")
    .option("--org <name>", "whose; default: your own")
    .option("--json", "print the list as JSON")
    .action(async ({ org, json }: { org?: string; json?: boolean }) => {
      const all = await (await Secrets.open(org === undefined ? {} : { organisation: org })).list();
      if (json) return printJson(all);
      if (all.length === 0) return printLine(paint("dim", "There are no secrets."));
      printTable(
        ["NAME", "HOSTS", "REPOSITORIES", "CHANGED", ""],
        all.map(({ name, hosts, repositories, updatedAt, insecure }) => [
          ...[name, hosts.join(", "), repositories?.join(", ") ?? "all", relativeTime(updatedAt)],
          insecure ? paint("red", "also by plain HTTP") : "",
        ]),
      );
    });
  command
    .command("rm <name>")
    .alias("remove")
    .description("Remove a secret; connections on which it was used are cut")
    .option("--org <name>", "whose; default: your own")
    .action(async (name: string, { org }: { org?: string }) => {
      await (await Secrets.open(org === undefined ? {} : { organisation: org })).remove(name);
      printLine(`${name} is removed.`);
    });
}

/** Never an argument: those are seen by every process of the machine, and kept in the shell's history. */
async function readValue(name: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) return (await text(stdin)).replace(/\r?\n$/, "");
  stderr.write(`Value of ${name}: `);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: nowhere, terminal: true, historySize: 0 });
  const cancelled = new AbortController();
  lines.once("SIGINT", () => cancelled.abort());
  try {
    return await lines.question("", { signal: cancelled.signal });
  } finally {
    lines.close();
    stderr.write("\n");
  }
}

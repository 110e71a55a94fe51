import { readFile } from "node:fs/promises";
import { DormouseError, formatDuration } from "@dormouse/base";
import { templateName } from "@dormouse/contract";
import { Connection, type Template, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { interruptible } from "../exit.ts";
import { openLocalRepository } from "../local-repository/open.ts";
import { paint, printFields, printJson, printLine, printTable } from "../output.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { createStepReporter } from "../step-reporter.ts";
import { classifyRepository } from "./create.ts";

interface BakeFlags {
  from?: string;
  ref?: string;
  script?: string;
  devcontainer?: string | false;
  org?: string;
  json?: boolean;
}

export default function template(command: Command): void {
  command
    .command("list")
    .description("List the templates that workspaces start from")
    .option("--json", "print the list as JSON")
    .action(async (options: { json?: boolean }) => {
      const connection = await Connection.open();
      const { templates } = await connection.api.templates.list({});
      if (options.json) return printJson(templates);
      printTable(["NAME", "VERSION", "REPOSITORY", "VCPUS", "MEMORY", "DISK", "CREATED", "BY"], templates.map(rowOf));
    });
  command
    .command("show <name>")
    .description("Show a template and its versions")
    .option("--json", "print the versions as JSON")
    .action(async (name: string, options: { json?: boolean }) => {
      const connection = await Connection.open();
      const { versions } = await connection.api.templates.get({ template: name });
      if (options.json) return printJson(versions);
      for (const version of versions) {
        printFields([
          ["name", version.name],
          ["version", String(version.version)],
          ["created", `${version.createdAt} (${relativeTime(version.createdAt)})`],
          ["by", version.owner ?? "the product"],
          ["organisation", version.organisation ?? "everybody's"],
          ["repository", version.repository ?? "-"],
          ...(version.ref === null ? [] : ([["ref", version.ref]] as const)),
          ["folder", version.folder],
          ["machine", machineOf(version)],
        ]);
        printLine("");
      }
    });
  command
    .command("bake <name>")
    .description("Set a machine up once and keep it, for workspaces to start from")
    .option("--from <repository>", "a git URL or a folder of this machine; its definition is applied as a prebuild")
    .option("--ref <ref>", "branch, tag or commit of it")
    .option("--devcontainer <name>", "which of its definitions")
    .option("--no-devcontainer", "apply none of its definitions")
    .option("--org <name>", "whose workspaces start from it; default as for `create`")
    .option("--script <file>", "a script that is run in the machine, in the repository's folder")
    .option("--json", "print the template as JSON")
    .addHelpText(
      "after",
      "\nA name that is there gets its next version; workspaces that exist stay on theirs. What is in the machine's memory, such " +
        "as a password for the repository, is not in the template; what the script writes is.",
    )
    .action(async (name: string, flags: BakeFlags) => {
      if (flags.from === undefined && flags.script === undefined) {
        throw new DormouseError("invalid_argument", "there is nothing to bake: give --from, --script or both");
      }
      // Before anything is set up that could not be kept.
      checkName(name);
      const script = flags.script === undefined ? undefined : await readFile(flags.script, "utf8");
      const beganMs = performance.now();
      const made = await interruptible((signal) => bakeShown(name, flags, script, signal));
      if (flags.json) return printJson(made);
      const took = formatDuration(performance.now() - beganMs);
      printLine(
        `${paint("bold", name)} version ${made.version} is baked (${took}): dormouse create --template ${name}`,
      );
    });
  command
    .command("delete <name>")
    .description("Delete a template; workspaces that exist are not touched")
    .option("--version <number>", "only this version")
    .action(async (name: string, options: { version?: string }) => {
      const connection = await Connection.open();
      const version = options.version === undefined ? undefined : Number(options.version);
      if (version !== undefined && !Number.isInteger(version)) {
        throw new DormouseError("invalid_argument", `--version is ${options.version}: must be a whole number`);
      }
      if (version === undefined) await connection.api.templates.delete({ template: name });
      else await connection.api.templates.deleteVersion({ template: name, version });
      printLine(version === undefined ? `${name} is deleted.` : `Version ${version} of ${name} is deleted.`);
    });
}

function checkName(name: string): void {
  const { error } = templateName.safeParse(name);
  if (error) throw new DormouseError("invalid_argument", `name is ${name}: ${error.issues[0]?.message}`);
  if (name === "base")
    throw new DormouseError("invalid_argument", "name is base: that template ships with the product");
}

async function bakeShown(name: string, flags: BakeFlags, script: string | undefined, signal: AbortSignal) {
  const connection = await Connection.open();
  using display = createProgressDisplay();
  const steps = createStepReporter(display.progress);
  // Without either of the two options commander says true.
  const devcontainer = flags.devcontainer === (true as unknown) ? undefined : flags.devcontainer;
  const create = {
    connection,
    organisation: flags.org,
    devcontainer,
    prebuild: true,
    signal,
    onProgress: steps.report,
  };
  try {
    const source = flags.from === undefined ? undefined : classifyRepository(flags.from);
    const workspace =
      source?.kind === "folder"
        ? await openLocalRepository(source.path, { ...create, ref: flags.ref })
        : await Workspace.create({ ...create, repository: source?.url, ref: flags.ref });
    try {
      const problem = workspace.info.devcontainer?.problem;
      if (problem) throw new DormouseError("failed_precondition", problem.message);
      if (script !== undefined) await runScript(workspace, script, steps.report, signal);
      steps.report({ step: "bake", message: `Booting the machine anew and keeping it as ${name}` });
      const made = await workspace.bake(name);
      steps.end("done");
      return made;
    } catch (error) {
      await workspace.kill();
      throw error;
    }
  } catch (error) {
    steps.end("failed");
    throw error;
  }
}

async function runScript(
  workspace: Workspace,
  script: string,
  report: (step: { step: string; message: string }) => void,
  signal: AbortSignal,
): Promise<void> {
  const path = "/tmp/dormouse-bake";
  await workspace.files.write(path, script, { mode: 0o755 });
  report({ step: "script", message: "Running the script" });
  const tail: string[] = [];
  const running = await workspace.exec([path], { background: true });
  const onAbort = () => void running.kill("SIGKILL").catch(() => {});
  signal.addEventListener("abort", onAbort, { once: true });
  const onText = (text: string) => {
    for (const line of text.split("\n").filter((each) => each.trim() !== "")) {
      tail.push(line);
      if (tail.length > 20) tail.shift();
      report({ step: "script", message: `Running the script: ${line.slice(0, 120)}` });
    }
  };
  try {
    const { exitCode } = await running.wait({ onStdout: onText, onStderr: onText });
    signal.throwIfAborted();
    if (exitCode !== 0) {
      throw new DormouseError(
        "failed_precondition",
        `the script ended with code ${exitCode}: ${tail.slice(-3).join(" | ")}`,
      );
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    await workspace.files.remove(path).catch(() => {});
  }
}

function rowOf(template: Template): string[] {
  const { name, version, repository, resources, createdAt, owner } = template;
  const { vcpus, memoryMib, diskGib } = resources;
  const sizes = [String(vcpus), `${memoryMib} MiB`, `${diskGib} GiB`];
  return [name, String(version), repository ?? "-", ...sizes, relativeTime(createdAt), owner ?? "-"];
}

function machineOf({ resources: { vcpus, memoryMib, diskGib } }: Template): string {
  return `${vcpus} vCPU, ${memoryMib} MiB memory, ${diskGib} GiB disk`;
}

import type { Problem } from "@dormouse/devcontainer";
import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { addProblem, type Definition, readDefinitions } from "../devcontainer/read-definition.ts";
import { type DefinitionSummary, describeSummary, summarize } from "../devcontainer/summary.ts";
import { exitCodes } from "../exit.ts";
import { paint, printFields, printJson, printLine } from "../output.ts";

interface CheckFlags {
  config?: string;
  namespace?: string;
  json?: boolean;
}

export default function devcontainer(command: Command): void {
  command
    .command("check")
    .description("Check a repository's devcontainer.json and say what it asks for")
    .argument("[path]", "a repository's folder, or a devcontainer.json", ".")
    .option("--config <name>", "one of several, by its folder under .devcontainer or its path")
    .option("--namespace <prefix>", "where short names of features lead, e.g. registry.example/team/features")
    .option("--json", "print problems and summaries as JSON")
    .action(check);
  command
    .command("lock")
    .description("Write devcontainer-lock.json in a workspace: its repository's features with their digests")
    .argument("<workspace>", "name or id")
    .option("--upgrade", "take what the versions in devcontainer.json mean now, whatever is locked")
    .option("--check", "write nothing; fail when something would be written")
    .option("--json", "print the changes as JSON")
    .action(lock);
}

interface LockFlags {
  upgrade?: boolean;
  check?: boolean;
  json?: boolean;
}

async function lock(workspace: string, { upgrade = false, check: isCheck = false, json }: LockFlags): Promise<void> {
  const { api } = await Connection.open();
  const request = { workspace, upgrade, write: !isCheck };
  const lock = await api.workspaces.lockFeatures(request, { context: { timeoutMs: lockTimeoutMs } });
  const { path, features, changes } = lock;
  if (isCheck && changes.length > 0) process.exitCode = exitCodes.failed;
  if (json) return printJson(lock);
  for (const { feature, from, to } of changes) {
    const name = paint("bold", printable(feature));
    if (!to) printLine(`- ${name}, which is not used`);
    else printLine(`${from ? "~" : "+"} ${name} ${from ? `${from.version} → ` : ""}${to.version} ${to.integrity}`);
  }
  const count = features === 1 ? "1 feature" : `${features} features`;
  if (changes.length === 0) return printLine(`${path} is as it should be, with ${count}.`);
  printLine(isCheck ? `${path} is not as it should be.` : `${path} is written, with ${count}.`);
}

/** Registries take their time. */
const lockTimeoutMs = 600_000;

async function check(path: string, flags: CheckFlags): Promise<void> {
  const definitions = await readDefinitions(path, {
    ...(flags.config === undefined ? {} : { config: flags.config }),
    ...(flags.namespace === undefined ? {} : { defaultNamespace: flags.namespace }),
  });
  const results = definitions.map((definition) => ({ definition, summary: summaryOf(definition, flags) }));
  if (results.some(({ summary }) => summary === undefined)) process.exitCode = exitCodes.failed;
  if (flags.json) {
    return printJson(results.map(({ definition: { path, problems }, summary }) => ({ path, problems, summary })));
  }
  for (const { definition, summary } of results) {
    for (const problem of definition.problems) printProblem(problem);
    if (summary) printSummary(definition, summary);
  }
}

/** What a valid definition asks for; what only shows when it is put together becomes one of its problems. */
function summaryOf(definition: Definition, flags: CheckFlags): DefinitionSummary | undefined {
  const { config, localFeatures, compose } = definition;
  try {
    return config && summarize(config, localFeatures, flags.namespace, compose);
  } catch (error) {
    addProblem(definition, ["features"], error);
    return undefined;
  }
}

function printProblem({ file, line, column, severity, property, message }: Problem): void {
  const colour = severity === "error" ? "red" : "yellow";
  const subject = property === "" ? "" : `${printable(property)}: `;
  printLine(`${printable(file)}:${line}:${column}: ${paint(colour, severity)}: ${subject}${printable(message)}`);
}

function printSummary({ path, problems }: Definition, summary: DefinitionSummary): void {
  const warnings = problems.length === 1 ? "1 warning" : `${problems.length} warnings`;
  printLine(paint("bold", `${printable(path)} is valid${problems.length === 0 ? "" : `, with ${warnings}`}`));
  printFields(
    describeSummary(summary).flatMap(([name, lines]) =>
      lines.map((line, index) => [index === 0 ? `  ${name}` : "", printable(line)] as const),
    ),
  );
}

/** Text of a repository: what would steer the terminal is shown as an escape instead. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

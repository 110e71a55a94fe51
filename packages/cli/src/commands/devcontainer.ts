import type { Problem } from "@dormouse/devcontainer";
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
}

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

// `npm test`: unit, integration (real machines, namespaces, databases) and system tests (the whole platform, real
// browsers), then the Python SDK's. Ends with one line `N passed, N failed, N skipped` over all of them.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const isLong = process.argv.includes("--long");
const filters = process.argv.slice(2).filter((argument) => argument !== "--long");
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
/** What failed, to be read again at the end of a long output. */
const failures: string[] = [];
const reports = await mkdtemp(join(tmpdir(), "dormouse-test-"));

try {
  const projects = isLong ? ["long"] : ["unit", "integration", "system"];
  for (const project of projects) add(project, await runVitest(project));
  if (filters.length === 0 && !isLong) add("python", await runPython());
} finally {
  await rm(reports, { recursive: true, force: true });
}
if (total.passed === 0) total.failed = Math.max(total.failed, 1);
for (const failure of failures) process.stdout.write(`\nFAILED ${failure}\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed === 0 ? 0 : 1;

function add(stage: string, counts: Counts): void {
  process.stdout.write(`${stage}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped.\n`);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
}

async function runVitest(project: string): Promise<Counts> {
  const report = join(reports, `${project}.json`);
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const args = [
    vitest,
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ];
  const empty = filters.length > 0 ? ["--passWithNoTests"] : [];
  // On two cores vitest would use one for the tests; much of what unit tests do is waiting.
  if (project === "unit") args.push(`--maxWorkers=${Math.max(2, availableParallelism())}`);
  const { code } = await runStage(process.execPath, [...args, ...empty, ...filters]);
  if (!existsSync(report)) return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0 };
  const json = JSON.parse(await readFile(report, "utf8")) as {
    numPassedTests: number;
    numFailedTests: number;
    numPendingTests: number;
    numTodoTests: number;
    testResults: {
      name: string;
      status: string;
      message: string;
      assertionResults: { status: string; fullName: string; failureMessages: string[] }[];
    }[];
  };
  for (const { name, status, message, assertionResults } of json.testResults) {
    const file = relative(root, name);
    if (status === "failed" && assertionResults.length === 0) failures.push(`${file}\n${message}`);
    for (const test of assertionResults) {
      if (test.status === "failed")
        failures.push(`${file}: ${test.fullName}\n${test.failureMessages.map(beginning).join("\n")}`);
    }
  }
  // A file that fails before its first test, or an error outside every test, counts as one failure.
  const broken = json.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  ).length;
  const failed = json.numFailedTests + broken;
  return {
    passed: json.numPassedTests,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped: json.numPendingTests + json.numTodoTests,
  };
}

/** The first lines of a long message: what was wrong, and where. */
function beginning(message: string): string {
  return message.split("\n").slice(0, 12).join("\n");
}

async function runPython(): Promise<Counts> {
  const folder = join(root, "packages/sdk-python");
  if (!existsSync(folder)) return { passed: 0, failed: 0, skipped: 0 };
  const { code, output } = await runStage("python3", ["-m", "unittest", "discover", "-s", "tests", "-v"], folder);
  const ran = Number(/Ran (\d+) tests?/.exec(output)?.[1] ?? 0);
  const number = (name: string) => Number(new RegExp(`${name}=(\\d+)`).exec(output)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  const skipped = number("skipped");
  return { passed: ran - failed - skipped, failed: code !== 0 && failed === 0 ? 1 : failed, skipped };
}

function runStage(command: string, args: string[], cwd = root): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        process.stdout.write(chunk);
        output = (output + chunk).slice(-1_000_000);
      });
    }
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

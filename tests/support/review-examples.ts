import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Connection, Workspace } from "@dormouse/sdk";

/** What one of the example programs did. */
export interface ExampleRun {
  language: "typescript" | "python";
  exitCode: number | null;
  /** Standard output and error, as they came. */
  output: string;
  /** Workspaces that were there afterwards and not before. */
  leftBehind: string[];
}

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Runs the branch-review example in both languages, one after the other, against a running platform. */
export async function runReviewExamples(options: {
  url: string;
  apiKey: string;
  /** As the machines reach it. Its `make` builds, its `make test` tests. */
  repositoryUrl: string;
  branch: string;
}): Promise<ExampleRun[]> {
  const { url, apiKey, repositoryUrl, branch } = options;
  const connection = new Connection({ url, apiKey });
  const workspaceIds = async () => (await Workspace.list({ connection })).map(({ id }) => id);
  const env = {
    ...process.env,
    DORMOUSE_URL: url,
    DORMOUSE_API_KEY: apiKey,
    PYTHONPATH: join(root, "packages/sdk-python"),
    PYTHONDONTWRITEBYTECODE: "1",
  };
  const programs = [
    { language: "typescript", command: process.execPath, file: "review.ts" },
    { language: "python", command: "python3", file: "review.py" },
  ] as const;
  const runs: ExampleRun[] = [];
  for (const { language, command, file } of programs) {
    const before = await workspaceIds();
    const args = [join(root, "examples/review-branch", file), repositoryUrl, branch];
    const ended = await runProgram(command, args, env);
    const leftBehind = (await workspaceIds()).filter((id) => !before.includes(id));
    runs.push({ language, ...ended, leftBehind });
  }
  return runs;
}

function runProgram(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ exitCode: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.once("error", reject);
    child.once("close", (exitCode) => resolve({ exitCode, output }));
  });
}

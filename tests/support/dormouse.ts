import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/dormouse.mjs", import.meta.url));

/** What a run of the command-line tool left. */
export interface DormouseRun {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `dormouse` as a user would, against a platform. */
export function dormouse(
  platform: { url: string; apiKey: string },
  args: readonly string[],
  options: { input?: string | Uint8Array; cwd?: string } = {},
): Promise<DormouseRun> {
  const env = { ...process.env, DORMOUSE_URL: platform.url, DORMOUSE_API_KEY: platform.apiKey };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [launcher, ...args], { env, cwd: options.cwd, stdio: "pipe" });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.once("error", reject);
    child.once("close", (exitCode) => resolve({ exitCode, stdout, stderr }));
    child.stdin.end(options.input ?? "");
  });
}

// `npm run check`: types, lint and format, layering, dead code, in one go; every one is run, the first failure does not hide the next.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name: string) => join(root, "node_modules/.bin", name);

const checks: { name: string; command: string; args: string[] }[] = [
  { name: "types", command: bin("tsc"), args: ["--noEmit", "-p", "tsconfig.json"] },
  ...["workbench", "console"]
    .filter((name) => existsSync(join(root, "packages", name, "tsconfig.json")))
    .map((name) => ({ name: `types of ${name}`, command: bin("tsc"), args: ["--noEmit", "-p", `packages/${name}`] })),
  { name: "lint and format", command: bin("biome"), args: ["ci", "--error-on-warnings", "."] },
  { name: "layering", command: process.execPath, args: [join(root, "scripts/check-layers.ts")] },
  { name: "dead code", command: bin("knip"), args: ["--no-progress"] },
];

let failed = 0;
for (const check of checks) {
  const startedMs = performance.now();
  const { code, output } = await runCheck(check.command, check.args);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`${code === 0 ? "✓" : "✗"} ${check.name} (${seconds} s)\n`);
  if (code !== 0) {
    failed++;
    process.stdout.write(`${output.trim()}\n\n`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;

function runCheck(command: string, args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ code: 1, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

#!/usr/bin/env node
// The command as people run it, on any Node ≥ 20. The sources are TypeScript: when this Node does not
// strip types, the Node 24 of the npm package `node` takes over. Nothing is imported before that but Node's own.
import { spawn } from "node:child_process";
import module from "node:module";
import { constants, homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packageDir = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(packageDir, "src/main.ts");
const [major = 0] = process.versions.node.split(".").map(Number);

if (process.features.typescript && major >= 24) {
  // Stripped and compiled once, not at every start: half the time of a short command.
  const cacheHome = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  module.enableCompileCache(join(cacheHome, "dormouse/node"));
  await import(main);
} else runWithNode24();

function runWithNode24() {
  const node = join(dirname(dirname(packageDir)), "node_modules/node/bin/node");
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  // A terminal sends its signals to both; the child decides what becomes of them.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(
      `dormouse: Node 24 is needed and ${node} does not start: ${error.message}. Run npm install.\n`,
    );
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (signal ? constants.signals[signal] : 0)));
}

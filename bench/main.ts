// `npm run bench -- NAME [ARGUMENTS]`: measures and prints one JSON document. What matters are ratios within one run.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const benchmarks: Readonly<Record<string, { summary: string; script: string }>> = {
  create: { summary: "cold boot, bare restore, create-to-first-exec with and without pool", script: "create.ts" },
  snapshot: { summary: "snapshots of a running machine, sleep and wake, forks", script: "snapshot.ts" },
  wake: {
    summary: "wakes from the store on a host that has nothing of it, with all fetched first and with what is touched",
    script: "wake.ts",
  },
  definition: { summary: "opening a repository with a devcontainer.json, beside one without", script: "definition.ts" },
  editor: { summary: "from a click to the first character typed, beside code-server", script: "editor.ts" },
  boot: { summary: "40 cold boots while the other core is busy", script: "../packages/compute/bench/boot.ts" },
  capture: {
    summary: "captures of a running machine by how much changed: pause, total, copied",
    script: "../packages/compute/bench/capture.ts",
  },
  egress: {
    summary: "what the egress filter and proxy cost: throughput, new connections, changing a policy, memory",
    script: "../packages/network/bench/egress.ts",
  },
  traffic: {
    summary: "what the egress filter and proxy cost a real machine: throughput, new connections",
    script: "traffic.ts",
  },
  storage: {
    summary: "writing and reading an image of a snapshot, encoded on this thread and on others",
    script: "../packages/storage/bench/snapshot.ts",
  },
  slots: { summary: "network slots: prepare, allocate, release", script: "../packages/network/bench/slots.ts" },
};

const [name = "", ...args] = process.argv.slice(2);
const benchmark = benchmarks[name];
if (benchmark) {
  const script = fileURLToPath(new URL(benchmark.script, import.meta.url));
  process.exitCode = spawnSync(process.execPath, [script, ...args], { stdio: "inherit" }).status ?? 1;
} else {
  const lines = Object.entries(benchmarks).map(
    ([key, { summary }]) => `  npm run bench -- ${key.padEnd(10)} ${summary}`,
  );
  process.stderr.write(`${name ? `There is no benchmark ${name}.` : "Which benchmark?"}\n${lines.join("\n")}\n`);
  process.exitCode = 2;
}

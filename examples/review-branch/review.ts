// Reviews a branch in a machine of its own: clones it, builds it, runs its tests, and leaves nothing behind.
//
//   node examples/review-branch/review.ts REPOSITORY BRANCH
//
// The exit code is 0 when it builds and its tests pass, else 1.
import { Workspace } from "@dormouse/sdk";

const [repository, branch] = process.argv.slice(2);
if (repository === undefined || branch === undefined) {
  process.stderr.write("usage: review.ts REPOSITORY BRANCH\n");
  process.exit(2);
}

// The arguments come as variables: nothing in a branch's name is ever read as a command.
const setup = `#!/bin/bash
set -euo pipefail
git clone --quiet --depth 1 --branch "$BRANCH" -- "$REPOSITORY" /workspace/source
cd /workspace/source
make
`;

process.exitCode = await review({ repository, branch });

async function review(env: { repository: string; branch: string }): Promise<number> {
  // Deleted at the end of this function, however it ends; and by its time to live, should this program die.
  await using workspace = await Workspace.create({ template: "base", ttlSeconds: 3600 });
  await workspace.files.write("/workspace/setup.sh", setup);

  const build = await workspace.exec("bash /workspace/setup.sh", {
    env: { REPOSITORY: env.repository, BRANCH: env.branch },
    timeoutMs: 600_000,
  });
  report("build", build);
  if (build.exitCode !== 0) return 1;

  const tests = await workspace.exec("make test", { cwd: "/workspace/source", timeoutMs: 600_000 });
  report("tests", tests);
  return tests.exitCode === 0 ? 0 : 1;
}

function report(step: string, result: { exitCode: number; timedOut: boolean; stdout: string; stderr: string }): void {
  const tail = `${result.stdout}${result.stderr}`.trimEnd().split("\n").slice(-20).join("\n");
  console.log(`${step}: exit code ${result.exitCode}${result.timedOut ? " (timed out)" : ""}\n${tail}\n`);
}

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** A network namespace that stands for the internet, with a git server in it. */
export interface PretendInternet extends AsyncDisposable {
  /** Base URL of the git server as machines and this host reach it. */
  gitUrl: string;
  /** Makes a bare repository with these files on `main` and, with `branches`, one branch each with a file more. */
  addRepository(
    name: string,
    files: Record<string, string>,
    branches?: Record<string, Record<string, string>>,
  ): Promise<string>;
  /** Where the bare repository of that name lies on this host. */
  pathOf(name: string): string;
}

// From the block for benchmarks (RFC 2544): nobody's address, so nothing real is shadowed.
const host = "198.18.77.1";
const server = "198.18.77.2";
const port = 8080;

/** Needs root. `tag` tells concurrent ones apart in names, not in addresses: one at a time. */
export async function createPretendInternet(tag = "dmnet"): Promise<PretendInternet> {
  const stack = disposer();
  try {
    const root = await mkdtemp(join(tmpdir(), "dormouse-git-"));
    stack.add(() => rm(root, { recursive: true, force: true }));
    await run("ip", ["netns", "delete", tag], { okCodes: [0, 1] });
    await run("ip", ["netns", "add", tag]);
    stack.add(async () => void (await run("ip", ["netns", "delete", tag])));
    const setUp = [
      `link add ${tag}h type veth peer name ${tag}s netns ${tag}`,
      `address add ${host}/30 dev ${tag}h`,
      `link set ${tag}h up`,
    ];
    await run("ip", ["-batch", "-"], { input: setUp.join("\n") });
    const inside = [
      `address add ${server}/30 dev ${tag}s`,
      `link set ${tag}s up`,
      "link set lo up",
      `route add default via ${host}`,
    ];
    await run("ip", ["-n", tag, "-batch", "-"], { input: inside.join("\n") });
    await startGitServer(tag, root, stack);
    return {
      gitUrl: `http://${server}:${port}`,
      pathOf: (name) => join(root, `${name}.git`),
      addRepository: async (name, files, branches = {}) => {
        await makeRepository(join(root, `${name}.git`), files, branches);
        return `http://${server}:${port}/${name}.git`;
      },
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

async function startGitServer(namespace: string, root: string, stack: ReturnType<typeof disposer>): Promise<void> {
  const script = fileURLToPath(new URL("git-server.ts", import.meta.url));
  const args = ["netns", "exec", namespace, process.execPath, script, root, String(port)];
  const child: ChildProcess = spawn("ip", args, { stdio: ["ignore", "pipe", "inherit"] });
  stack.add(
    () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once("exit", () => resolve());
        child.kill("SIGTERM");
      }),
  );
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the git server ended with ${code}`)));
  });
}

/** Makes a bare repository with these files on `main`, and a branch each with a file more. */
export async function makeRepository(
  path: string,
  files: Record<string, string>,
  branches: Record<string, Record<string, string>>,
): Promise<void> {
  await mkdir(path, { recursive: true });
  await run("git", ["init", "--bare", "-q", "-b", "main", path]);
  if (Object.keys(files).length === 0) return;
  const stream = [commitStream("refs/heads/main", files, "First commit")];
  for (const [branch, more] of Object.entries(branches)) {
    stream.push(commitStream(`refs/heads/${branch}`, more, `Work on ${branch}`, "refs/heads/main"));
  }
  await run("git", ["-C", path, "fast-import", "--quiet"], { input: stream.join("") });
}

function commitStream(ref: string, files: Record<string, string>, message: string, from?: string): string {
  const bytes = (text: string) => `data ${Buffer.byteLength(text)}\n${text}\n`;
  const changes = Object.entries(files).map(([name, text]) => `M 100644 inline ${name}\n${bytes(text)}`);
  const parent = from ? `from ${from}\n` : "";
  return `commit ${ref}\ncommitter Ada <ada@example.test> 1700000000 +0000\n${bytes(message)}${parent}${changes.join("")}\n`;
}

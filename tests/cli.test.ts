import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dormouse/base/node";
import { Connection, Workspace } from "@dormouse/sdk";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LocalMachine, startLocalMachine } from "./support/local-machine.ts";

const launcher = fileURLToPath(new URL("../packages/cli/bin/dormouse.mjs", import.meta.url));

let machine: LocalMachine;
let scratch: string;
let workspace: Workspace;

beforeAll(async () => {
  machine = await startLocalMachine();
});
afterAll(() => machine[Symbol.asyncDispose]());
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "dormouse-cli-"));
  const connection = new Connection({ url: machine.url, apiKey: machine.apiKey });
  workspace = await Workspace.create({ connection, name: "box" });
});
afterEach(async () => {
  await workspace.kill();
  machine.workspaces.clear();
  await rm(scratch, { recursive: true, force: true });
});

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

interface RunOptions {
  input?: string | Uint8Array;
  env?: NodeJS.ProcessEnv;
  onStdout?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
  onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

function dormouse(args: string[], options: RunOptions = {}): Promise<Ended> {
  const access = { DORMOUSE_URL: machine.url, DORMOUSE_API_KEY: machine.apiKey };
  return start(process.execPath, [launcher, ...args], { ...options, env: { ...access, ...options.env } });
}

function start(command: string, args: string[], options: RunOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, HOME: scratch, NO_COLOR: "1", ...options.env };
    const child = spawn(command, args, { cwd: scratch, env, stdio: ["pipe", "pipe", "pipe"] });
    const kill = (signal: NodeJS.Signals) => void child.kill(signal);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
      options.onStdout?.(stdout, kill);
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
      options.onStderr?.(stderr, kill);
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
    child.stdin.end(options.input);
  });
}

describe("listings", () => {
  test("show workspaces to people and to programs", async () => {
    const table = await dormouse(["list"]);
    expect(table.stdout).toMatch(/^NAME +STATE +REPOSITORY +CREATED +EXPIRES\nbox +running +- +\d+ s ago +never\n$/);
    const json = JSON.parse((await dormouse(["ls", "--json"])).stdout);
    expect(json).toMatchObject([{ name: "box", id: workspace.id, state: "running" }]);
    expect((await dormouse(["show", "box"])).stdout).toContain(`id            ${workspace.id}\n`);
    expect(JSON.parse((await dormouse(["show", "box", "--json"])).stdout).id).toBe(workspace.id);
    expect((await dormouse(["open", "box"])).stdout).toBe("http://127.0.0.1/w/box\n");
    expect((await dormouse(["logs", "box"])).stdout).toMatch(/running\n── console ──\nLinux\n$/);
  });

  test("ttl, hibernate, wake and delete do as they say", async () => {
    expect((await dormouse(["ttl", "box", "2h"])).stdout).toMatch(/^box is deleted in 2 h, at 20/);
    expect((await dormouse(["ttl", "box", "none"])).stdout).toBe("box is kept.\n");
    expect((await dormouse(["hibernate", "box"])).stdout).toMatch(/^box is hibernated \(/);
    expect((await dormouse(["wake", "box"])).stdout).toMatch(/^box is running \(/);
    const deleted = await dormouse(["delete", "nobody", "box"]);
    expect(deleted).toEqual({
      code: 1,
      stdout: "box deleted.\n",
      stderr: "dormouse: workspace is nobody: there is none of that name or id\n",
    });
    expect((await dormouse(["delete", "--if-exists", "box"])).code).toBe(0);
  });

  test("work that is pushed nowhere is not deleted without a word", async () => {
    expect((await dormouse(["create", "--name", "dirty"])).code).toBe(0);
    expect(await dormouse(["delete", "dirty"])).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "dormouse: dirty has 3 changed files and 1 commit on main, pushed nowhere; it was not deleted (--force deletes it all the same)\n",
    });
    expect(await dormouse(["delete", "--force", "dirty"])).toMatchObject({ code: 0, stdout: "dirty deleted.\n" });
  });

  test("failures are one line and an exit code", async () => {
    expect(await dormouse(["show", "nobody"])).toEqual({
      code: 1,
      stdout: "",
      stderr: "dormouse: workspace is nobody: there is none of that name or id\n",
    });
    expect(await dormouse(["ttl", "box", "soon"])).toMatchObject({
      code: 2,
      stderr: 'dormouse: the time to live is "soon": it must be a time such as 45s, 90m, 1h30m or 2d\n',
    });
    expect((await dormouse(["lst"])).code).toBe(2);
    expect((await dormouse(["show"])).code).toBe(2);
    const nowhere = await dormouse(["list"], { env: { DORMOUSE_URL: "http://127.0.0.1:9" } });
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toMatch(/^dormouse: [^\n]*127\.0\.0\.1:9[^\n]*\n$/);
    const unknown = await dormouse(["list"], { env: { DORMOUSE_URL: "", DORMOUSE_API_KEY: "" } });
    expect(unknown.stderr).toBe(
      "dormouse: no address and no key: run `dormouse login`, or set DORMOUSE_URL and DORMOUSE_API_KEY\n",
    );
  });
});

test("login saves address and key for the user alone, after it has tried them", async () => {
  const environment = { DORMOUSE_URL: "", DORMOUSE_API_KEY: "" };
  const wrong = await dormouse(["login", "--url", machine.url], { input: "wrong\n", env: environment });
  expect(wrong.code).toBe(1);
  const right = await dormouse(["login", "--url", machine.url], { input: `${machine.apiKey}\n`, env: environment });
  const file = join(scratch, ".config/dormouse/credentials.json");
  expect(right.stdout).toBe(`Signed in to ${machine.url} as Ada (ada@example.com); saved in ${file}.\n`);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await dormouse(["list"], { env: environment })).stdout).toContain("box");
});

describe("exec", () => {
  test("passes output, input and the exit code on, binary safe", async () => {
    const failed = await dormouse(["exec", "box", "--", "echo out; echo err >&2; exit 7"]);
    expect(failed).toEqual({ code: 7, stdout: "out\n", stderr: "err\n" });
    const words = await dormouse([
      "exec",
      "box",
      "-e",
      "X=1",
      "-C",
      "/usr",
      "--",
      "sh",
      "-c",
      'echo "$X $PWD $0"',
      "a b",
    ]);
    expect(words.stdout).toBe("1 /usr a b\n");
    const blob = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) & 255));
    const sum = await dormouse(["exec", "box", "--", "sha256sum"], { input: blob });
    const { stdout } = await run("sha256sum", [], { input: blob });
    expect(sum.stdout).toBe(stdout);
  });

  test("a program that is not there is 127, as in a shell", async () => {
    expect(await dormouse(["exec", "box", "--", "no-such-program", "x"])).toMatchObject({
      code: 127,
      stderr: "dormouse: command: no-such-program is not there\n",
    });
  });

  test("ends with 124 on a time-out, and forwards signals", async () => {
    expect((await dormouse(["exec", "box", "-t", "1s", "--", "sleep 600"])).code).toBe(124);
    const stopped = await dormouse(
      ["exec", "box", "--", "trap 'echo caught; exit 9' TERM; echo ready; sleep 600 & wait"],
      {
        onStdout: (text, kill) => text === "ready\n" && kill("SIGTERM"),
      },
    );
    expect(stopped).toMatchObject({ code: 9, stdout: "ready\ncaught\n" });
  });
});

test("shell is a terminal: it has a size, takes keys, and ends by ~.", async () => {
  const access = { DORMOUSE_URL: machine.url, DORMOUSE_API_KEY: machine.apiKey };
  const command = `stty rows 33 cols 101; ${process.execPath} ${launcher} shell box sh`;
  const child = spawn("script", ["-qec", command, "/dev/null"], {
    env: { PATH: process.env.PATH, HOME: scratch, TERM: "xterm", ...access },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let screen = "";
  const shows = async (pattern: RegExp) => {
    while (!pattern.test(screen)) {
      const { value, done } = await chunks.next();
      if (done) throw new Error(`the terminal ended without ${pattern}: ${screen}`);
      screen += value;
    }
  };
  const chunks = child.stdout[Symbol.asyncIterator]();
  await shows(/[#$] $/);
  child.stdin.write("stty size\r");
  await shows(/33 101/);
  child.stdin.write("~.");
  await shows(/terminal ended/);
  child.stdin.end();
  const terminals = async () => (await workspace.pty.list()).filter(({ exitCode }) => exitCode === null);
  await expect.poll(terminals, { timeout: 10_000 }).toEqual([]);
  const refused = await dormouse(["shell", "box"]);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("needs a terminal") });
});

describe("cp", () => {
  test("copies files both ways, with their mode", async () => {
    const blob = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 31) & 255));
    await writeFile(join(scratch, "tool"), blob, { mode: 0o755 });
    const up = await dormouse(["cp", "tool", `box:${machine.folder}/copied/tool2`]);
    expect(up).toMatchObject({ code: 0, stdout: `${machine.folder}/copied/tool2 (293 KiB)\n` });
    expect((await stat(`${machine.folder}/copied/tool2`)).mode & 0o777).toBe(0o755);
    await mkdir(join(scratch, "into"));
    expect((await dormouse(["cp", `box:${machine.folder}/copied/tool2`, "into"])).stdout).toBe(
      "into/tool2 (293 KiB)\n",
    );
    expect(Buffer.compare(await readFile(join(scratch, "into/tool2")), blob)).toBe(0);
    expect((await stat(join(scratch, "into/tool2"))).mode & 0o777).toBe(0o755);
  });

  test("copies folders both ways, links and empty folders included", async () => {
    await mkdir(join(scratch, "tree/empty"), { recursive: true });
    await writeFile(join(scratch, "tree/file ü"), "content\n");
    await symlink("file ü", join(scratch, "tree/link"));
    await mkdir(`${machine.folder}/target`, { recursive: true });
    expect((await dormouse(["cp", "tree", "box:target"])).code).toBe(0);
    expect((await dormouse(["cp", "tree", "box:target/renamed"])).code).toBe(0);
    expect((await dormouse(["cp", "box:target", "back"])).code).toBe(0);
    const listing = async (folder: string) =>
      (await run("find", [".", "-printf", "%p %y %l\\n"], { cwd: folder })).stdout.split("\n").sort();
    expect(await listing(join(scratch, "back/tree"))).toEqual(await listing(join(scratch, "tree")));
    expect(await listing(join(scratch, "back/renamed"))).toEqual(await listing(join(scratch, "tree")));
    const left = await workspace.exec("ls /tmp/dormouse-copy-* 2>/dev/null | wc -l");
    expect(left.stdout.trim()).toBe("0");
  });

  test("refuses what cannot be, by name", async () => {
    expect(await dormouse(["cp", "a", "b"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("workspace:path"),
    });
    expect(await dormouse(["cp", "box:/nowhere", "."])).toMatchObject({
      code: 1,
      stderr: "dormouse: box has no /nowhere\n",
    });
  });
});

describe("create", () => {
  test("shows steps and prints the address; --json prints the workspace", async () => {
    const created = await dormouse(["create", "https://git.example/x.git", "--name", "x", "--ttl", "1h"]);
    expect(created.stderr).toMatch(/… Restoring the machine\n✓ Restoring the machine \(\d+ ms\)\n/);
    expect(created.stdout).toMatch(/^x is ready \(.*\)\.\nhttp:\/\/127\.0\.0\.1\/w\/x\n$/);
    const { stdout } = await dormouse(["create", "--name", "y", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ name: "y", state: "running" });
  });

  test("says why it failed and leaves nothing behind; so does Ctrl-C", async () => {
    const broken = await dormouse(["create", "--name", "z", "--template", "broken"]);
    expect(broken).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("dormouse: the machine did not answer\n"),
    });
    const stopped = await dormouse(["create", "--name", "z", "--template", "stuck"], {
      onStderr: (text, kill) => text.endsWith("… Restoring the machine\n") && kill("SIGINT"),
    });
    expect(stopped).toMatchObject({ code: 130, stderr: expect.stringContaining("dormouse: cancelled\n") });
    const neither = await dormouse(["create", "nothing-here"]);
    expect(neither.stderr).toBe(
      "dormouse: nothing-here is neither a folder here nor a git URL such as https://host/owner/name\n",
    );
    expect([...machine.workspaces.values()].map(({ name }) => name)).toEqual(["box"]);
  });

  test("brings the repository of a folder, with what is not committed", async () => {
    const home = join(scratch, "Project One");
    await mkdir(home);
    const git = (...args: string[]) =>
      run("git", ["-c", "user.name=Ada", "-c", "user.email=a@b.c", "-C", home, ...args]);
    await git("init", "-q", "-b", "main");
    await writeFile(join(home, "committed"), "1\n");
    await git("add", ".");
    await git("commit", "-qm", "first");
    await writeFile(join(home, "committed"), "2\n");
    await writeFile(join(home, "new"), "new\n");
    // The machine of these tests is this host, whose /workspaces is nobody's to write to.
    const folder = join(machine.folder, "brought");
    const connection = new Connection({ url: machine.url, apiKey: machine.apiKey });
    const { openLocalRepository } = await import("@dormouse/cli");
    const steps: string[] = [];
    await using brought = await openLocalRepository(home, {
      connection,
      folder,
      onProgress: ({ step }) => void (steps.at(-1) === step || steps.push(step)),
    });
    expect(brought.name).toBe("project-one");
    expect(steps).toEqual(["pack", "restore", "upload", "unpack"]);
    const status = await brought.exec("git status --short && git log --format=%s", { cwd: folder });
    expect(status.stdout).toBe(" M committed\n?? new\nfirst\n");
    await using second = await openLocalRepository(home, { connection, folder: `${folder}-2` });
    expect(second.name).toBe("project-one-2");
    const failing = openLocalRepository(home, { connection, folder: "/proc/nowhere", name: "fails" });
    await expect(failing).rejects.toThrow("could not be unpacked");
    expect([...machine.workspaces.values()].map(({ name }) => name)).not.toContain("fails");
    const leftovers = await second.exec("ls -d /tmp/dormouse-ws-* 2>/dev/null | wc -l");
    expect(leftovers.stdout.trim()).toBe("0");
  });

  test("refuses a folder without a repository before anything is made", async () => {
    const before = machine.requests.length;
    const refused = await dormouse(["create", "."]);
    expect(refused.stderr).toContain("is not a git repository; `git init` makes it one\n");
    expect(refused.code).toBe(1);
    expect(machine.requests.slice(before)).toEqual([]);
  });
});

describe("the launcher and completion", () => {
  test("an older Node hands over to Node 24", async () => {
    // Any Node that does not strip types will do; this one is told not to.
    const args = ["--no-experimental-strip-types", launcher, "--version"];
    expect(await start(process.execPath, args, {})).toMatchObject({ code: 0, stdout: "0.1.0\n" });
  });

  test("bash completes commands, options and names of workspaces", async () => {
    expect((await dormouse(["complete", "--", "hib"])).stdout).toContain("hibernate\t");
    expect((await dormouse(["complete", "--", "create", "--t"])).stdout).toMatch(/--template\t.*\n--ttl\t/);
    expect((await dormouse(["complete", "--", "exec", "b"])).stdout).toContain("box\tworkspace");
    for (const shell of ["bash", "zsh"]) {
      const { stdout } = await dormouse(["completion", shell]);
      await run(shell, ["-n"], { input: stdout }).catch((error) => {
        if (shell === "bash" || error.code !== "not_found") throw error;
      });
    }
    expect((await dormouse(["completion", "fish"])).stdout).toContain("complete -c dormouse");
  });
});

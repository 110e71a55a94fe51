// The main job without a browser: a workspace by SDK and command line, its machine, its network, its life and end.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";
import { runReviewExamples } from "./support/review-examples.ts";

let platform: TestPlatform;
let internet: PretendInternet;
let folder: string;
beforeAll(async () => {
  internet = await createPretendInternet();
  platform = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "dormouse-main-job-"));
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe("a workspace", () => {
  it("is a machine of its own: another kernel, its own name, uid 1000, a login environment", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection, name: "alone", env: { GREETING: "hello" } });
    const script =
      "uname -r; hostname; id -u; echo $GREETING; pwd; echo $LANG; cat /etc/machine-id; git --version; node --version";
    const { exitCode, stdout } = await workspace.exec(script);
    expect(exitCode).toBe(0);
    const [kernel, hostname, uid, greeting, cwd, lang, machineId, git, node] = stdout.trim().split("\n");
    expect(kernel).not.toBe((await run("uname", ["-r"])).stdout.trim());
    expect(hostname).toBe("alone");
    expect([uid, greeting, cwd, lang]).toEqual(["1000", "hello", "/workspace", "C.UTF-8"]);
    expect(machineId).toMatch(/^[0-9a-f]{32}$/);
    expect(git).toContain("git version");
    expect(node).toMatch(/^v24\./);
  });

  it("has the right clock and randomness of its own, and so has its sibling", async () => {
    const { connection } = platform;
    const draw = async () => {
      await using workspace = await Workspace.create({ connection });
      const before = Date.now();
      const { stdout } = await workspace.exec(
        "date +%s%3N; cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/uuid /etc/machine-id",
      );
      const [time = "", ...random] = stdout.trim().split("\n");
      expect(Number(time)).toBeGreaterThan(before - 1_000);
      expect(Number(time)).toBeLessThan(Date.now() + 1_000);
      return random;
    };
    const drawn = [...(await draw()), ...(await draw())];
    expect(new Set(drawn).size).toBe(6);
  });

  it("gives exit code, both streams and a time-out as results", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    const failed = await workspace.exec("echo out; echo err >&2; exit 7");
    expect(failed).toMatchObject({ exitCode: 7, stdout: "out\n", stderr: "err\n", timedOut: false });
    const late = await workspace.exec("sleep 60", { timeoutMs: 300 });
    expect(late.timedOut).toBe(true);
    const { stdout } = await workspace.exec("pgrep -c sleep || true");
    expect(stdout.trim()).toBe("0");
  });

  it("keeps commands that take longer or write more, and ends those whose caller leaves", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    // Begun by the machine's process starter, ended under its agent.
    const long = await workspace.exec("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.15; done; echo end >&2; exit 5");
    expect(long).toMatchObject({ exitCode: 5, stdout: "1\n2\n3\n4\n5\n6\n7\n8\n", stderr: "end\n", truncated: false });
    expect(long.durationMs).toBeGreaterThan(1_200);
    const much = await workspace.exec("seq 300000");
    expect(much.stdout).toBe(Array.from({ length: 300_000 }, (_, index) => `${index + 1}\n`).join(""));
    const leaving = new AbortController();
    const left = workspace.exec("exec sleep 61", { signal: leaving.signal });
    const running = async () => (await workspace.exec("pgrep -fc '^sleep 61' || true")).stdout.trim();
    await eventually("it runs", async () => (await running()) === "1");
    leaving.abort();
    await expect(left).rejects.toThrow();
    await eventually("it has ended", async () => (await running()) === "0");
  });

  it("keeps files of any bytes and names", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 7) % 256);
    await workspace.files.write("/workspace/päth with space/Ünï.bin", bytes);
    expect(await workspace.files.read("/workspace/päth with space/Ünï.bin")).toEqual(bytes);
    await workspace.exec("printf data > \"$(printf 'bad\\377name')\"");
    const names = (await workspace.files.list("/workspace")).map(({ name }) => name);
    expect(names).toContain("bad\udcffname");
    expect(await workspace.files.readText("/workspace/bad\udcffname")).toBe("data");
  });

  it("is reaped when its time is over", async () => {
    const { connection } = platform;
    const workspace = await Workspace.create({ connection, ttlSeconds: 2 });
    const events: string[] = [];
    for await (const event of workspace.events())
      events.push(event.type === "state" ? event.workspace.state : event.type);
    expect(events.at(-1)).toBe("deleted");
    await expect(Workspace.connect(workspace.id, { connection })).rejects.toThrow(workspace.id);
    workspace.close();
  });
});

describe("the network of a machine", () => {
  it("does not reach the host, the platform or a neighbour", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    await using neighbour = await Workspace.create({ connection });
    const server = await neighbour.exec(["python3", "-m", "http.server", "8000"], { background: true });
    await neighbour.ports.waitFor(8000);
    type Machines = { machines: { workspaceId: string; address: string }[] };
    const { machines } = await platform.hostCall<Machines>("machines/list", {});
    const address = machines.find(({ workspaceId }) => workspaceId === neighbour.id)?.address;
    expect((await fetch(`http://${address}:8000/`)).status, "the host itself reaches it").toBe(200);
    const reach = async (target: string) =>
      (await workspace.exec(["curl", "-sS", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", target])).exitCode;
    const port = new URL(platform.url).port;
    for (const target of [
      `http://${address}:8000/`,
      `http://172.31.0.1:${port}/`,
      "http://169.254.169.254/",
      `http://198.18.77.1:${port}/`,
    ]) {
      expect(await reach(target), target).not.toBe(0);
    }
    expect(await reach(internet.gitUrl), "what lies outside is reached").toBe(0);
    await server.kill();
  });
});

describe("repositories", () => {
  it("are cloned with their branch, changed, committed and pushed", async () => {
    const url = await internet.addRepository("demo", { "README.md": "# Demo\n" }, { feature: { "new.txt": "new\n" } });
    const created = await dormouse(platform, ["create", url, "--ref", "feature", "--name", "demo", "--json"]);
    expect(created.exitCode, created.stderr).toBe(0);
    expect(JSON.parse(created.stdout)).toMatchObject({ name: "demo", folder: "/workspaces/demo", state: "running" });
    const script =
      "git config user.name Ada && git config user.email ada@example.test && echo more >> new.txt && git commit -qam 'More' && git push -q && git status -sb";
    const pushed = await dormouse(platform, ["exec", "demo", "--", "bash", "-c", script]);
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    expect(pushed.stdout).toContain("## feature...origin/feature");
    const { stdout } = await run("git", ["-C", internet.pathOf("demo"), "log", "-1", "--format=%s", "feature"]);
    expect(stdout.trim()).toBe("More");
    expect((await dormouse(platform, ["delete", "demo"])).exitCode).toBe(0);
  });

  it("of this machine are brought as they are, with what is not committed", async () => {
    const local = join(folder, "local");
    await run("git", ["init", "-q", "-b", "trunk", local]);
    await writeFile(join(local, "kept.txt"), "kept\n");
    await writeFile(join(local, "edited.txt"), "before\n");
    await run("git", ["-C", local, "add", "."]);
    await run("git", ["-C", local, "-c", "user.name=Ada", "-c", "user.email=a@b.test", "commit", "-qm", "First"]);
    await writeFile(join(local, "edited.txt"), "after\n");
    await writeFile(join(local, "untracked.txt"), "new\n");
    const created = await dormouse(platform, ["create", ".", "--json"], { cwd: local });
    expect(created.exitCode, created.stderr).toBe(0);
    const { stdout } = await dormouse(platform, [
      "exec",
      "local",
      "--",
      "bash",
      "-c",
      "git branch --show-current; cat edited.txt; git status --short",
    ]);
    expect(stdout.split("\n").slice(0, 4)).toEqual(["trunk", "after", " M edited.txt", "?? untracked.txt"]);
    const refused = await dormouse(platform, ["delete", "local"]);
    expect(refused.stderr).toMatch(
      /^dormouse: local has \d+ changed files?.* on trunk, pushed nowhere; it was not deleted/,
    );
    expect((await dormouse(platform, ["delete", "--force", "local"])).exitCode).toBe(0);
  });
});

describe("the examples", () => {
  it("review a branch in both languages and leave nothing behind", async () => {
    const makefile = "all:\n\tgcc -o app app.c\ntest: all\n\t./app | grep -q works\n\t@echo tests passed\n";
    const url = await internet.addRepository(
      "project",
      { Makefile: makefile, "app.c": "int main(void) { return 1; }\n" },
      { fix: { "app.c": '#include <stdio.h>\nint main(void) { puts("works"); return 0; }\n' } },
    );
    const runs = await runReviewExamples({
      url: platform.url,
      apiKey: platform.apiKey,
      repositoryUrl: url,
      branch: "fix",
    });
    expect(runs.map(({ language }) => language)).toEqual(["typescript", "python"]);
    for (const { output, exitCode, leftBehind } of runs) {
      expect(exitCode, output).toBe(0);
      expect(output).toContain("tests passed");
      expect(leftBehind).toEqual([]);
    }
  });
});

describe("the command line", () => {
  it("lists, shows, copies both ways, and ends with the remote exit code", async () => {
    expect((await dormouse(platform, ["create", "--name", "tools"])).exitCode).toBe(0);
    const list = JSON.parse((await dormouse(platform, ["list", "--json"])).stdout) as { name: string }[];
    expect(JSON.stringify(list)).toContain("tools");
    await writeFile(join(folder, "up.bin"), Buffer.from([0, 255, 10, 13]));
    expect((await dormouse(platform, ["cp", join(folder, "up.bin"), "tools:/workspace/up.bin"])).exitCode).toBe(0);
    expect((await dormouse(platform, ["cp", "tools:/workspace/up.bin", join(folder, "down.bin")])).exitCode).toBe(0);
    expect([...(await readFile(join(folder, "down.bin")))]).toEqual([0, 255, 10, 13]);
    const piped = await dormouse(platform, ["exec", "tools", "--", "sh", "-c", "wc -c; exit 5"], { input: "12345" });
    expect([piped.exitCode, piped.stdout.trim()]).toEqual([5, "5"]);
    expect((await dormouse(platform, ["logs", "tools"])).stdout).toContain("running");
    expect((await dormouse(platform, ["delete", "tools"])).exitCode).toBe(0);
  });
});

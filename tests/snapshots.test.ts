// Snapshots through the whole platform: what sleeps, is forked, goes back or dies goes on at the very instruction.
import { Workspace } from "@dormouse/sdk";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { expectGoingOn, output, startHasher } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 1, snapshotEveryMs: 10_000 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());
afterEach(async () => {
  for (const { id } of await Workspace.list({ connection: platform.connection })) {
    await Workspace.kill(id, { connection: platform.connection });
  }
});

const create = (name: string) => Workspace.create({ connection: platform.connection, name });
describe("a workspace that sleeps", () => {
  it("goes on where it was, again and again: memory, files, connections, a half-typed line", async () => {
    const workspace = await create("sleeper");
    await startHasher(workspace);
    let shown = "";
    // Its own connection, closed before the sleep: whoever follows a terminal would wake the workspace again.
    const typist = await Workspace.connect("sleeper", { connection: platform.connection });
    const terminal = await typist.pty.create({ cols: 80, rows: 24, onData: (data) => (shown += data) });
    await terminal.sendInput("PS1='> '; sleep 1000 &\n");
    await eventually("the shell has a job", async () => shown.includes("[1]"));
    await terminal.sendInput("echo half-");
    await eventually("the line is half typed", async () => shown.includes("echo half-"));
    typist.close();
    // A connection inside of the machine, which nobody outside keeps alive.
    await workspace.files.write(
      "/workspace/connected.py",
      `import os, socket, threading, time
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
def serve():
    peer, _ = server.accept()
    while True: peer.sendall(peer.recv(16))
threading.Thread(target=serve, daemon=True).start()
client = socket.create_connection(server.getsockname())
count = 0
while True:
    client.sendall(str(count).encode()); assert int(client.recv(16)) == count
    count += 1
    open("/workspace/echoes.new", "w").write(str(count)); os.rename("/workspace/echoes.new", "/workspace/echoes")
    time.sleep(0.1)
`,
    );
    await workspace.exec("exec python3 connected.py", { background: true });
    await eventually("the connection lives", () => output(workspace, "cat /workspace/echoes"));
    const bootId = await output(workspace, "cat /proc/sys/kernel/random/boot_id");
    let rounds = 0;
    for (let cycle = 0; cycle < 2; cycle++) {
      await workspace.hibernate();
      expect(workspace.state).toBe("hibernated");
      expect(await output(workspace, "cat /proc/sys/kernel/random/boot_id")).toBe(bootId);
      rounds = await expectGoingOn(workspace, rounds);
      const seconds = Number(await output(workspace, "date +%s"));
      expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(3);
    }
    const echoes = Number(await output(workspace, "cat /workspace/echoes"));
    await eventually(
      "the connection goes on",
      async () => Number(await output(workspace, "cat /workspace/echoes")) > echoes,
    );
    shown = "";
    const another = await Workspace.connect("sleeper", { connection: platform.connection });
    const again = await another.pty.attach(terminal.id, { onData: (data) => (shown += data) });
    await again.sendInput("typed; jobs\n");
    await eventually("the line and the job are what they were", async () => {
      return shown.includes("half-typed") && /Running\s+sleep 1000/.test(shown);
    });
    another.close();
    await workspace.kill();
  });

  it("wakes once, however many ask at once", async () => {
    const workspace = await create("wanted");
    await workspace.hibernate();
    const answers = await Promise.all([1, 2, 3, 4].map((n) => output(workspace, `echo ${n}`)));
    expect(answers).toEqual(["1", "2", "3", "4"]);
    const { machines } = await platform.hostCall<{ machines: { workspaceId: string; generation: number }[] }>(
      "machines/list",
      {},
    );
    expect(machines.filter(({ workspaceId }) => workspaceId === workspace.id)).toMatchObject([{ generation: 2 }]);
    await workspace.kill();
  });
});

describe("forks of a running workspace", () => {
  it("go on with its processes under names, clocks and randomness of their own", async () => {
    const parent = await create("parent");
    await startHasher(parent);
    await parent.exec("echo of-the-parent > shared; n=0; while :; do n=$((n+1)); echo $n > count; sleep 0.1; done", {
      background: true,
    });
    const forks = (await parent.fork({ count: 2, name: "child", env: { MINE: "yes" } })).map(({ workspace, error }) => {
      if (!workspace) throw error;
      return workspace;
    });
    const all = [parent, ...forks];
    const drawn = await Promise.all(
      all.map((one) => output(one, "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'")),
    );
    expect(new Set(drawn).size).toBe(all.length);
    for (const [index, fork] of forks.entries()) {
      expect(await output(fork, "hostname; cat shared; echo $MINE")).toBe(`child-${index + 1}\nof-the-parent\nyes`);
      await expectGoingOn(fork, 1);
      const count = Number(await output(fork, "cat count"));
      await eventually("its loop goes on", async () => Number(await output(fork, "cat count")) > count);
    }
    for (const path of ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]) {
      const ids = await Promise.all(all.map((one) => output(one, `cat ${path}`)));
      expect(new Set(ids).size, path).toBe(all.length);
    }
    // What one writes, no other has.
    await output(forks[0] ?? parent, "echo changed > shared");
    expect(await output(parent, "cat shared")).toBe("of-the-parent");
    expect(await output(forks[1] ?? parent, "cat shared")).toBe("of-the-parent");
    // The parent may go; what they share of its drive and memory stays.
    await parent.kill();
    await expectGoingOn(forks[1] ?? parent, 1);
    await forks[0]?.hibernate();
    await expectGoingOn(forks[0] ?? parent, 1);
  });
});

describe("the timeline", () => {
  it("keeps a moment every few seconds, says what was there, and goes back to any of them", async () => {
    const workspace = await create("timely");
    await output(workspace, "git config --global user.name Ada && git config --global user.email ada@example.test");
    await output(workspace, "git init -q -b main . && git commit -q --allow-empty -m start && echo one > file");
    const named = await workspace.snapshot({ name: "one" });
    expect(named).toMatchObject({ name: "one", git: { branch: "main", changedFiles: 1 }, reason: "manual" });
    expect(named.pauseMs).toBeGreaterThan(0);
    await output(workspace, "echo two > file; echo more > another");
    await eventually("a snapshot is taken by itself", async () => {
      const [newest] = await workspace.snapshots();
      return newest?.reason === "periodic" && newest.createdAt > named.createdAt;
    });
    // With a name, because of several moments of one minute only the last is kept otherwise.
    const two = await workspace.snapshot({ name: "two" });
    await workspace.restore("one");
    expect(await output(workspace, "cat file; ls another 2>/dev/null || echo gone")).toBe("one\ngone");
    expect((await workspace.refresh()).info.reason).toContain("it goes on from its snapshot");
    await workspace.restore(two.id);
    expect(await output(workspace, "cat file another")).toBe("two\nmore");
    const timeline = await workspace.snapshots();
    expect(timeline.map(({ name }) => name)).toContain("before going back");
    await expect(workspace.restore("never-was")).rejects.toThrow('snapshot is "never-was"');
    expect(await output(workspace, "cat file")).toBe("two");
  });
});

describe("a stopped platform", () => {
  it("keeps snapshots and sleepers, and goes on with them", async () => {
    const workspace = await create("stopped");
    await startHasher(workspace);
    const kept = await workspace.snapshot({ name: "kept" });
    const bootId = await output(workspace, "cat /proc/sys/kernel/random/boot_id");
    workspace.close();
    await platform.restart();
    const found = await Workspace.connect("stopped", { connection: platform.connection });
    const [bootIdAfter, seconds] = (await output(found, "cat /proc/sys/kernel/random/boot_id; date +%s")).split("\n");
    expect(bootIdAfter).toBe(bootId);
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(3);
    await expectGoingOn(found, 1);
    await found.restore(kept.id);
    await expectGoingOn(found, 1);
  });
});

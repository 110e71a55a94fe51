import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromRpcError } from "@dormouse/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectGuestChannel, createGuestClient } from "../client.ts";
import { createSpawner } from "../process/spawner.ts";
import { collect, connectAs, startTestAgent, type TestAgent } from "./test-agent.ts";

let agent: TestAgent;
beforeAll(async () => {
  agent = await startTestAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

const base64 = (text: string | Buffer) => Buffer.from(text).toString("base64");
const failure = async (call: Promise<unknown>) =>
  fromRpcError(
    await call.then(
      () => "no failure",
      (error) => error,
    ),
  );

describe("exec.run", () => {
  it("answers output, error output and exit code", async () => {
    const result = await agent.client.exec.run({ command: "echo out; echo err >&2; exit 3" });
    expect(result).toMatchObject({ exitCode: 3, signal: null, stdout: "out\n", stderr: "err\n", timedOut: false });
  });

  it("passes environment, folder, arguments and input through as they are", async () => {
    const result = await agent.client.exec.run({
      command: ["sh", "-c", 'printf "%s|%s|%s|" "$GREETING" "$PWD" "$1"; cat', "sh", "a b\n'\""],
      env: { GREETING: "grüße" },
      cwd: agent.folder,
      stdin: base64("from stdin"),
    });
    expect(result.stdout).toBe(`grüße|${agent.folder}|a b\n'"|from stdin`);
  });

  it("is a session leader with default signals, no descriptors and umask 022", async () => {
    const { stdout } = await agent.client.exec.run({
      command:
        "ls /proc/self/fd | tr '\\n' ' '; echo; grep -E 'SigIgn|SigBlk' /proc/self/status; umask; ps -o sid= -p $$; echo $$",
    });
    const [fds = "", blocked, ignored, umask, session, own] = stdout.split("\n");
    // The last one is ls's own, on the folder it reads.
    expect(fds.trim()).toBe("0 1 2 3");
    expect(blocked).toMatch(/SigBlk:\s+0{16}/);
    expect(ignored).toMatch(/SigIgn:\s+0{16}/);
    expect(umask).toBe("0022");
    expect(session?.trim()).toBe(own);
  });

  it("kills the whole group when the time is over", async () => {
    const result = await agent.client.exec.run({ command: "sleep 1000 & sleep 1000", timeoutMs: 100 });
    expect(result).toMatchObject({ exitCode: 137, signal: "SIGKILL", timedOut: true });
  });

  it("hands a long command over, which can then be attached to", async () => {
    const error = await failure(agent.client.exec.run({ command: "echo started; exec sleep 1000", waitMs: 300 }));
    expect(error).toMatchObject({ code: "deadline_exceeded", message: "the command still runs after 300 ms" });
    const processId = String(error.details.processId);
    await agent.client.exec.signal({ processId, signal: "SIGTERM" });
    expect(await collect(await agent.client.exec.attach({ processId }))).toEqual([
      { type: "stdout", offset: 0, data: base64("started\n") },
      { type: "exit", exitCode: 143, signal: "SIGTERM", timedOut: false },
    ]);
  });

  it("keeps the end of what is too much", async () => {
    const result = await agent.client.exec.run({ command: "seq 1 200000", maxOutputBytes: 1000 });
    expect(result.truncated).toBe(true);
    expect(result.stdout).toHaveLength(1000);
    expect(result.stdout.endsWith("199999\n200000\n")).toBe(true);
  });

  it("passes a megabyte through a process both ways", async () => {
    const input = Buffer.alloc(1024 * 1024, "0123456789abcdef\n");
    const result = await agent.client.exec.run({ command: ["cat"], stdin: base64(input) });
    expect(result.stdout === input.toString()).toBe(true);
  });

  it("does not wait for children in the background, and lets them live", async () => {
    const mark = join(agent.folder, "background");
    const result = await agent.client.exec.run({
      command: `(sleep 0.3; echo noise; echo lived > ${mark}) & echo started`,
    });
    expect(result).toMatchObject({ exitCode: 0, stdout: "started\n" });
    await expect.poll(() => readFile(mark, "utf8").catch(() => ""), { timeout: 10_000 }).toBe("lived\n");
  });

  it("ends the command when its caller leaves", async () => {
    const leaving = new AbortController();
    const client = createGuestClient({ ...agent.address, signal: leaving.signal });
    const mark = join(agent.folder, "pid");
    const call = client.exec.run({ command: `echo $$ > ${mark}; exec sleep 1000` });
    call.catch(() => {});
    await expect.poll(() => readFile(mark, "utf8").catch(() => ""), { timeout: 10_000 }).toMatch(/\d/);
    const pid = Number(await readFile(mark, "utf8"));
    leaving.abort();
    await expect.poll(() => readFile(`/proc/${pid}/stat`).catch(() => "gone"), { timeout: 10_000 }).toBe("gone");
  });

  it("runs many at once", async () => {
    const results = await Promise.all(
      Array.from({ length: 60 }, (_, index) => agent.client.exec.run({ command: ["echo", String(index)] })),
    );
    expect(results.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 60 }, (_, index) => `${index}\n`));
  });

  it("says in one line what was wrong", async () => {
    const plain = join(agent.folder, "plain");
    await writeFile(plain, "no program");
    expect(await failure(agent.client.exec.run({ command: ["no-such-program"] }))).toMatchObject({
      code: "not_found",
      message: "command: no-such-program is not there",
    });
    expect(await failure(agent.client.exec.run({ command: [plain] }))).toMatchObject({
      code: "permission_denied",
      message: `command: ${plain} may not be executed`,
    });
    expect(await failure(agent.client.exec.run({ command: "true", cwd: "/no/such" }))).toMatchObject({
      code: "not_found",
      message: "cwd: /no/such is not a folder of the machine",
    });
    expect(await failure(agent.client.exec.run({ command: "true", user: "nobody-here" }))).toMatchObject({
      code: "not_found",
      message: "user: no user nobody-here in the machine",
    });
    expect(await failure(agent.client.exec.run({ command: "true", cwd: "relative" }))).toMatchObject({
      code: "invalid_argument",
      message: "cwd: a path starts with /",
    });
    expect(await failure(agent.client.exec.run({ command: ["echo", "a\0b"] }))).toMatchObject({
      code: "invalid_argument",
    });
    const long = "x".repeat(100_000);
    const env = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`LONG_${index}`, long]));
    expect((await failure(agent.client.exec.run({ command: "true", env }))).message).toContain("2 MiB");
    expect(await failure(agent.client.exec.run({ command: "" }))).toMatchObject({ code: "invalid_argument" });
  });
});

describe("exec.start", () => {
  it("outlives its readers, who go on from an offset", async () => {
    const { processId } = await agent.client.exec.start({
      command: "echo one; read line; echo got $line; exit 4",
      stdin: true,
    });
    const first = await agent.client.exec.attach({ processId });
    const one = (await first.next()).value;
    expect(one).toEqual({ type: "stdout", offset: 0, data: base64("one\n") });
    await first.return(undefined);
    await agent.client.exec.writeStdin({ processId, data: base64("two\n") });
    const events = await collect(await agent.client.exec.attach({ processId, offset: 4 }));
    expect(events).toEqual([
      { type: "stdout", offset: 4, data: base64("got two\n") },
      { type: "exit", exitCode: 4, signal: null, timedOut: false },
    ]);
    const known = (await agent.client.exec.list({})).processes.find((process) => process.processId === processId);
    expect(known).toMatchObject({ exitCode: 4, command: "echo one; read line; echo got $line; exit 4" });
  });

  it("closes input and sends signals by name", async () => {
    const cat = await agent.client.exec.start({ command: ["cat"], stdin: true });
    await agent.client.exec.closeStdin({ processId: cat.processId });
    expect(await collect(await agent.client.exec.attach({ processId: cat.processId }))).toMatchObject([
      { exitCode: 0 },
    ]);
    const sleep = await agent.client.exec.start({ command: ["sleep", "1000"] });
    expect(await failure(agent.client.exec.signal({ processId: sleep.processId, signal: "SIGNOTHING" }))).toMatchObject(
      {
        message: "signal: SIGNOTHING is no signal; a name like SIGTERM would be",
      },
    );
    await agent.client.exec.signal({ processId: sleep.processId, signal: "SIGTERM" });
    expect(await collect(await agent.client.exec.attach({ processId: sleep.processId }))).toMatchObject([
      { type: "exit", exitCode: 143, signal: "SIGTERM" },
    ]);
  });

  it("takes a signal also when nobody reads its input", async () => {
    const { processId } = await agent.client.exec.start({ command: ["sleep", "1000"], stdin: true });
    const writing = agent.client.exec.writeStdin({ processId, data: base64(Buffer.alloc(1024 * 1024)) });
    await agent.client.exec.signal({ processId, signal: "SIGKILL" });
    expect(await collect(await agent.client.exec.attach({ processId }))).toMatchObject([{ signal: "SIGKILL" }]);
    await writing;
  });
});

describe("the agent's door", () => {
  it("answers health to anyone and nothing else without the token", async () => {
    const { baseUrl } = agent.address;
    expect((await fetch(`${baseUrl}/health`)).status).toBe(200);
    for (const authorization of ["", "Bearer ", "Bearer wrong", `bearer ${agent.address.token}`]) {
      for (const path of ["/rpc/machine/metrics", "/file?path=/etc/passwd", "/channel", "/"]) {
        expect((await fetch(baseUrl + path, { method: "POST", headers: { authorization } })).status, path).toBe(401);
      }
    }
    const refused = connectGuestChannel({ ...agent.address, token: "wrong" }).catch((error) => error);
    expect(await refused).toMatchObject({ code: "unauthenticated" });
  });

  it("speaks the same contract over a channel", async () => {
    using channel = await connectGuestChannel(agent.address);
    expect((await channel.client.exec.run({ command: "echo over a channel" })).stdout).toBe("over a channel\n");
    const error = await failure(channel.client.exec.run({ command: ["no-such-program"] }));
    expect(error).toMatchObject({ code: "not_found", details: { stage: "exec" } });
  });

  it("takes a new identity, its token at once, and names no secret in its log", async () => {
    const folder = await mkdtemp("/tmp/dormouse-identity-");
    await using other = await startTestAgent({ root: folder });
    await mkdir(join(folder, "etc"));
    const machineId = "0123456789abcdef0123456789abcdef";
    const identify = (presented: string, token: string, content: object) => {
      const spawner = createSpawner(() => connectAs(other, presented));
      const entropy = Buffer.alloc(32, 7);
      const names = { hostname: "ws-test", machineId, bootId: randomUUID() };
      return spawner
        .identify({ ...names, nowMs: Date.now, entropy, token, content: JSON.stringify(content) })
        .finally(() => spawner.close());
    };
    const first = other.address.token;
    const second = "another token, 16 and more";
    await identify(first, second, { env: { SECRET: "hidden value", FROM_IDENTITY: "yes" }, folder: "/tmp" });
    expect(await failure(other.client.exec.list({}))).toMatchObject({ code: "unauthenticated" });
    await expect(identify(first, "a third token", {})).rejects.toMatchObject({ code: "internal" });
    const client = createGuestClient({ ...other.address, token: second });
    const result = await client.exec.run({ command: "pwd; echo $FROM_IDENTITY" });
    expect(result.stdout).toBe("/tmp\nyes\n");
    // A default folder that is gone, or not cloned yet, does not keep anybody out.
    await identify(second, first, { env: {}, folder: "/not/there/yet" });
    expect((await other.client.exec.run({ command: "pwd; echo $HOME" })).stdout).toMatch(/^(.+)\n\1\n$/);
    expect(await readFile(join(folder, "etc/machine-id"), "utf8")).toBe(`${machineId}\n`);
    expect(await readFile(join(folder, "etc/hosts"), "utf8")).toContain("ws-test");
    expect(other.log.join()).not.toMatch(/hidden value|another token/);
    await rm(folder, { recursive: true });
  });

  it("counts what a user does as activity, and the host's own questions not", async () => {
    await agent.client.exec.list({});
    const before = await agent.client.machine.activity({});
    await agent.client.machine.metrics({});
    const after = await agent.client.machine.activity({});
    expect(after.lastRequestMs).toBe(before.lastRequestMs);
  });
});

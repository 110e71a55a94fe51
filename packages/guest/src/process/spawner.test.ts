import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { constants } from "node:os";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connectAs, startTestAgent, type TestAgent } from "../agent/test-agent.ts";
import { createSpawner, type ProcessExit } from "./spawner.ts";
import { encodeFrame, encodeRecords, encodeTime, frame, frameReader } from "./spawner-protocol.ts";

let agent: TestAgent;
beforeAll(async () => {
  agent = await startTestAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

async function output(command: string[]): Promise<string> {
  const spawner = createSpawner(() => connect(agent.spawnSocket));
  let text = "";
  const exit = Promise.withResolvers<ProcessExit>();
  await spawner.spawn(
    { arguments: command },
    {
      onOutput: (_, bytes) => {
        text += bytes;
      },
      onExit: exit.resolve,
    },
  );
  await exit.promise;
  spawner.close();
  return text;
}

const children = () => {
  const pid = agent.spawner.pid;
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && parentOf(name) === pid).length;
};
function parentOf(pid: string): number | undefined {
  try {
    const { readFileSync } = process.getBuiltinModule("node:fs");
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1]);
  } catch {
    return undefined;
  }
}

/** Sends bytes, leaves, and waits until the other side has let go too. */
async function send(bytes: Buffer): Promise<void> {
  const socket = connect(agent.spawnSocket);
  socket.on("error", () => {});
  socket.resume();
  socket.write(bytes);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.end();
  await closed;
}

/** Starts a shell script over the network, as the host does, and collects what it writes. */
async function startScript(script: string) {
  const spawner = createSpawner(() => connectAs(agent, agent.address.token));
  const exit = Promise.withResolvers<ProcessExit>();
  let text = "";
  const onOutput = (_: string, bytes: Buffer) => {
    text += bytes;
  };
  const process = await spawner.spawn({ arguments: ["sh", "-c", script] }, { onOutput, onExit: exit.resolve });
  return {
    process,
    exit: exit.promise,
    get text() {
      return text;
    },
    [Symbol.dispose]: () => spawner.close(),
  };
}

/** Destroyed at the end of its block. */
function disposable(socket: Socket): Socket & Disposable {
  return Object.assign(socket, { [Symbol.dispose]: () => void socket.destroy() });
}

/** Takes a released process over as the agent does. */
async function adopt(name: string) {
  const spawner = createSpawner(() => connect(agent.spawnSocket));
  const exit = Promise.withResolvers<ProcessExit>();
  let text = "";
  const process = await spawner.adopt(name, { onOutput: (_, bytes) => (text += bytes), onExit: exit.resolve });
  return {
    pid: process.pid,
    ended: async () => {
      const { exitCode } = await exit.promise;
      spawner.close();
      return { exitCode, text };
    },
  };
}

describe("a process that is handed over", () => {
  it("goes on with its next owner, and not a byte is lost or told twice", async () => {
    using script = await startScript("for i in 1 2 3 4 5 6 7 8; do seq 2000; sleep 0.03; done; exit 7");
    await new Promise((resolve) => setTimeout(resolve, 80));
    const released = await script.process.release();
    const next = await adopt(released?.name ?? "");
    expect(next.pid).toBe(script.process.pid);
    const { exitCode, text } = await next.ended();
    expect(exitCode).toBe(7);
    expect(script.text.length).toBeGreaterThan(0);
    expect(text.length).toBeGreaterThan(0);
    const all = Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join("");
    expect(script.text + text).toBe(all.repeat(8));
  });

  it("tells its next owner that it ended meanwhile", async () => {
    using script = await startScript("sleep 0.2; echo last words; exit 3");
    const released = await script.process.release();
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await (await adopt(released?.name ?? "")).ended()).toEqual({ exitCode: 3, text: "last words\n" });
  });

  it("ends when nobody takes it", async () => {
    using script = await startScript("echo $$; exec sleep 1000");
    await vi.waitFor(() => expect(script.text).toMatch(/\d+/));
    const released = await script.process.release();
    released?.abandon();
    await vi.waitFor(() => expect(existsSync(`/proc/${script.text.trim()}`)).toBe(false));
    await expect(adopt(released?.name ?? "")).rejects.toMatchObject({ code: "unavailable" });
  });

  it("is none when it has ended", async () => {
    using script = await startScript("exit 4");
    expect((await script.exit).exitCode).toBe(4);
    expect(await script.process.release()).toBeUndefined();
  });
});

/** An identity that changes nothing of the agent's; with `q` the spawner asks for the time. */
const identityFrame = (options: { asks: boolean }) =>
  encodeFrame(
    frame.identity,
    encodeRecords([
      ["t", "1000000000"],
      ...(options.asks ? [["q", ""] as const] : []),
      ["h", "ws-test"],
      ["m", "0".repeat(32)],
      ["r", "00"],
      ["k", agent.address.token],
      ["j", "{}"],
    ]),
  );

/** What comes until the first frame that is no question for the time; each question is given to `onQuestion`. */
function untilAnswered(socket: Socket, onQuestion: () => void) {
  return new Promise<{ questions: number; type: number; content: Buffer }>((resolve, reject) => {
    let questions = 0;
    const read = frameReader((type, content) => {
      if (type !== frame.clock) return resolve({ questions, type, content });
      questions++;
      onQuestion();
    });
    socket.removeAllListeners("data").on("data", read).once("error", reject);
  });
}

describe("the clock of an identity", () => {
  it("is what the client says when the machine gets to it", async () => {
    const spawner = createSpawner(() => connectAs(agent, agent.address.token));
    const nowMs = vi.fn(() => Date.now());
    const names = { hostname: "ws-test", machineId: "0".repeat(32), bootId: randomUUID() };
    const { token } = agent.address;
    await spawner.identify({ ...names, nowMs, entropy: Buffer.alloc(32, 7), token, content: "{}" });
    spawner.close();
    // Once for the frame, then for each question.
    expect(nowMs.mock.calls.length).toBeGreaterThanOrEqual(2);
    expect(nowMs.mock.calls.length).toBeLessThanOrEqual(4);
  });

  it("is asked for again when the answer took long, three times at most", async () => {
    using socket = disposable(connect(agent.spawnSocket));
    const answers = untilAnswered(socket, () => {
      setTimeout(() => socket.write(encodeTime(Date.now())), 20);
    });
    socket.write(identityFrame({ asks: true }));
    expect(await answers).toMatchObject({ questions: 3, type: frame.done });
  });

  it("is asked of nobody who does not say that there will be an answer, and of nobody without the token", async () => {
    using silent = disposable(connect(agent.spawnSocket));
    silent.write(identityFrame({ asks: false }));
    expect(await untilAnswered(silent, () => {})).toMatchObject({ questions: 0, type: frame.done });
    using stranger = disposable(connectAs(agent, "another token"));
    stranger.write(identityFrame({ asks: true }));
    expect(await untilAnswered(stranger, () => {})).toMatchObject({ questions: 0, type: frame.error });
  });

  it("is the identity's own when no answer comes; one that comes late harms nothing", async () => {
    using socket = disposable(connect(agent.spawnSocket));
    socket.write(identityFrame({ asks: true }));
    expect(await untilAnswered(socket, () => {})).toMatchObject({ questions: 1, type: frame.done });
    socket.write(encodeTime(Date.now()));
    socket.write(encodeFrame(frame.start, encodeRecords([["a", "true"]])));
    expect(await untilAnswered(socket, () => {})).toMatchObject({ questions: 0, type: frame.started });
  });

  it("is the identity's own when the client only listens", async () => {
    using socket = disposable(connect(agent.spawnSocket));
    socket.end(identityFrame({ asks: true }));
    expect(await untilAnswered(socket, () => {})).toMatchObject({ questions: 1, type: frame.done });
  });

  it("is refused, and the identity with it, when the answer is none", async () => {
    const time = encodeTime(Date.now());
    const wrong = {
      "another frame": encodeFrame(frame.stdin, Buffer.alloc(8)),
      "too short": encodeFrame(frame.time, Buffer.alloc(7)),
      "too long": encodeFrame(frame.time, Buffer.alloc(9)),
      "a part of one": time.subarray(0, 9),
    };
    for (const [name, bytes] of Object.entries(wrong)) {
      using socket = disposable(connect(agent.spawnSocket));
      const answer = untilAnswered(socket, () => socket.end(bytes));
      socket.write(identityFrame({ asks: true }));
      const { questions, type, content } = await answer;
      expect({ questions, type }, name).toEqual({ questions: 1, type: frame.error });
      expect(content.readUInt32LE(0), name).toBe(constants.errno.EPROTO);
      expect(content.toString("utf8", 4), name).toBe("clock");
    }
    expect(await output(["echo", "alive"])).toBe("alive\n");
  });
});

describe("a freeze", () => {
  it("is answered with and without what is written being put on the disk before, and keeps no connection", async () => {
    const sockets: Socket[] = [];
    const spawner = createSpawner(() => {
      const socket = connectAs(agent, agent.address.token);
      sockets.push(socket);
      return socket;
    });
    for (const sync of [true, false]) await spawner.freeze({ sync });
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true]);
    const stop = AbortSignal.abort(new Error("no time left"));
    await expect(spawner.freeze({ sync: false }, stop)).rejects.toThrow("no time left");
    await spawner.thaw(Date.now);
    spawner.close();
  });
});

describe("a thaw", () => {
  it("asks what time it is when the client says that there will be an answer", async () => {
    for (const [records, questions] of [
      [[], 0],
      [[["t", "1000000000"]], 1],
    ] as [[string, string][], number][]) {
      using socket = disposable(connect(agent.spawnSocket));
      const answer = untilAnswered(socket, () => socket.write(encodeTime(Date.now())));
      socket.write(encodeFrame(frame.thaw, encodeRecords(records)));
      expect(await answer).toMatchObject({ questions, type: frame.done });
    }
    const spawner = createSpawner(() => connectAs(agent, agent.address.token));
    const nowMs = vi.fn(() => Date.now());
    await spawner.thaw(nowMs);
    spawner.close();
    expect(nowMs.mock.calls.length).toBeGreaterThanOrEqual(2);
  });
});

describe("a client", () => {
  /** What an identity comes to in a machine that answers it with these bytes. */
  async function identifyWith(bytes: Buffer) {
    const server = createServer((socket) => {
      socket.on("error", () => {}).once("data", () => socket.write(bytes));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const spawner = createSpawner(() => connect((server.address() as AddressInfo).port, "127.0.0.1"));
    const nowMs = vi.fn(() => 0);
    const names = { hostname: "ws-test", machineId: "0".repeat(32), bootId: randomUUID(), token: "token" };
    const error = await spawner.identify({ ...names, nowMs, entropy: Buffer.alloc(32), content: "{}" }).then(
      () => undefined,
      (error) => error,
    );
    spawner.close();
    server.close();
    return { error, answers: nowMs.mock.calls.length - 1 };
  }

  it("answers three questions for the time, and no more", async () => {
    const questions = (count: number) => Buffer.concat(Array.from({ length: count }, () => encodeFrame(frame.clock)));
    const done = encodeFrame(frame.done);
    expect(await identifyWith(Buffer.concat([questions(3), done]))).toEqual({ error: undefined, answers: 3 });
    const { error, answers } = await identifyWith(questions(1000));
    expect(error).toMatchObject({ code: "internal", message: "identify: the spawner sent a frame of type 73" });
    expect(answers).toBe(3);
  });

  it("fails with the operation when what comes cannot be read", async () => {
    const huge = Buffer.alloc(5, 0xff);
    for (const bytes of [huge, encodeFrame(frame.error), encodeFrame(frame.started, Buffer.alloc(4))]) {
      expect((await identifyWith(bytes)).error).toMatchObject({ code: "internal" });
    }
  });
});

describe("the spawner", () => {
  it("serves nobody over the network who does not know the token", async () => {
    for (const presented of ["", "another token", `${agent.address.token}x`, agent.address.token.slice(1)]) {
      const spawner = createSpawner(() => connectAs(agent, presented));
      const handlers = { onOutput: () => {}, onExit: () => {} };
      await expect(spawner.spawn({ arguments: ["true"] }, handlers)).rejects.toMatchObject({ code: "unavailable" });
      spawner.close();
    }
    const silent = connect({ host: "127.0.0.1", port: agent.spawnerPort });
    silent.on("error", () => {});
    const answer = new Promise((resolve) => silent.once("close", resolve));
    silent.resume().end(encodeFrame(frame.start, encodeRecords([["a", "true"]])));
    await answer;
    expect(silent.bytesRead).toBe(0);
  });

  it("survives anything that is sent to it, and leaves no process behind", async () => {
    const start = encodeRecords([
      ["a", "sh"],
      ["a", "-c"],
      ["a", "cat; exit 3"],
      ["e", "NAME=value"],
      ["c", "/tmp"],
      ["u", "0:0"],
      ["i", ""],
    ]);
    const valid = Buffer.concat([
      encodeFrame(frame.start, start),
      encodeFrame(frame.stdin, Buffer.from("input")),
      encodeFrame(frame.resize, Buffer.from([80, 0, 24, 0])),
      encodeFrame(frame.signal, Buffer.of(18)),
      encodeFrame(frame.stdinClose),
    ]);
    const seed = 42;
    let state = seed;
    const next = (limit: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % limit;
    };
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(valid);
      for (let change = 0; change <= next(4); change++) bytes[next(bytes.length)] = next(256);
      const cut = next(3) === 0 ? bytes.subarray(0, next(bytes.length)) : bytes;
      await send(next(4) === 0 ? Buffer.concat([cut, bytes]) : cut);
    }
    expect(agent.spawner.exitCode, `seed ${seed}`).toBeNull();
    expect(await output(["echo", "alive"])).toBe("alive\n");
    await expect.poll(children, { timeout: 20_000 }).toBeLessThanOrEqual(4);
  });

  it("refuses lengths that lie, types that are none and more input than it allowed", async () => {
    const huge = Buffer.alloc(5);
    huge.writeUInt32LE(0xffffffff, 0);
    huge[4] = frame.start;
    const start = encodeFrame(
      frame.start,
      encodeRecords([
        ["a", "sleep"],
        ["a", "1000"],
        ["i", ""],
      ]),
    );
    const hostile = [
      huge,
      encodeFrame(99, Buffer.alloc(10)),
      encodeFrame(frame.start, Buffer.from("no NUL at its end")),
      encodeFrame(frame.start, Buffer.alloc(1000)),
      encodeFrame(frame.identity, Buffer.from("t1\0")),
      encodeFrame(frame.identity, Buffer.from("tx\0hname\0mid\0rzz\0")),
      encodeFrame(frame.identity, Buffer.from("t1\0h../../x\0mid\0r00\0")),
      Buffer.concat([start, ...Array.from({ length: 40 }, () => encodeFrame(frame.stdin, Buffer.alloc(60_000)))]),
      Buffer.concat([start, encodeFrame(frame.signal, Buffer.of(200))]),
      Buffer.concat([start, encodeFrame(frame.resize, Buffer.alloc(3))]),
    ];
    for (const bytes of hostile) await send(bytes);
    expect(await output(["echo", "alive"])).toBe("alive\n");
    await expect.poll(children, { timeout: 20_000 }).toBeLessThanOrEqual(4);
  });

  it("tells a lost process when it dies itself", async () => {
    await using other = await startTestAgent();
    const { processId } = await other.client.exec.start({ command: ["sleep", "1000"] });
    other.spawner.kill("SIGKILL");
    await once(other.spawner, "exit");
    // A connection's own process lives on: only new ones cannot be made.
    const failed = await other.client.exec.run({ command: ["true"] }).then(
      () => "none",
      (error) => error.code,
    );
    expect(["UNAVAILABLE", "none"]).toContain(failed);
    await other.client.exec.signal({ processId, signal: "SIGKILL" });
    for await (const event of await other.client.exec.attach({ processId })) expect(event.type).toBe("exit");
  });
});

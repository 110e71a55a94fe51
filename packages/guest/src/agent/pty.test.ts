import { fromRpcError } from "@dormouse/contract";
import type { PtyEvent } from "@dormouse/contract/guest-schemas";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, startTestAgent, type TestAgent } from "./test-agent.ts";

let agent: TestAgent;
beforeAll(async () => {
  agent = await startTestAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

async function readUntil(events: AsyncIterable<PtyEvent>, pattern: RegExp): Promise<{ text: string; offset: number }> {
  let text = "";
  for await (const event of events) {
    if (event.type === "data") text += event.data;
    if (event.type === "data" && pattern.test(text)) return { text, offset: event.offset };
    if (event.type === "exit") break;
  }
  throw new Error(`the terminal ended before ${pattern}: ${JSON.stringify(text)}`);
}

const shell = ["sh", "-i"];
const env = { PS1: "> ", ENV: "" };

describe("terminals", () => {
  it("are real ones, of the size that was asked for, and follow a resize", async () => {
    const { id } = await agent.client.pty.create({ cols: 91, rows: 33, command: shell, env });
    const events = await agent.client.pty.attach({ id });
    await agent.client.pty.input({ id, data: "tty; stty size; test -t 0 && echo is''terminal\r" });
    const { text } = await readUntil(events, /isterminal/);
    expect(text).toMatch(/\/dev\/pts\/\d+/);
    expect(text).toContain("33 91");
    const more = await agent.client.pty.attach({ id });
    await agent.client.pty.resize({ id, cols: 100, rows: 40 });
    await agent.client.pty.input({ id, data: "stty size\r" });
    const seen: PtyEvent[] = [];
    for await (const event of more) {
      seen.push(event);
      if (event.type === "data" && event.data.includes("40 100")) break;
    }
    expect(seen).toContainEqual({ type: "resized", cols: 100, rows: 40 });
    await agent.client.pty.kill({ id });
  });

  it("keep their scrollback for who comes later, and go on at an offset without loss", async () => {
    const { id } = await agent.client.pty.create({ cols: 80, rows: 24, command: shell, env });
    await agent.client.pty.input({ id, data: "echo fi''rst\r" });
    const { offset } = await readUntil(await agent.client.pty.attach({ id }), /first\r\n/);
    await agent.client.pty.input({ id, data: "echo sec''ond; exit 5\r" });
    const all = await collect(await agent.client.pty.attach({ id }));
    const rest = await collect(await agent.client.pty.attach({ id, offset }));
    const textOf = (events: PtyEvent[]) => events.map((event) => (event.type === "data" ? event.data : "")).join("");
    expect(textOf(all)).toContain("first\r\n");
    expect(textOf(rest)).not.toContain("first\r\n");
    expect(textOf(rest)).toContain("second\r\n");
    expect(all.at(-1)).toEqual({ type: "exit", exitCode: 5, signal: null });
    expect(textOf(all).slice(Buffer.from(textOf(all)).subarray(0, offset).toString().length)).toBe(textOf(rest));
  });

  it("say at once when there is nothing to replay", async () => {
    const { id } = await agent.client.pty.create({ cols: 80, rows: 24, command: ["cat"] });
    for await (const event of await agent.client.pty.attach({ id })) {
      expect(event).toEqual({ type: "data", offset: 0, data: "" });
      break;
    }
    await agent.client.pty.kill({ id });
  });

  it("never cut a character in two", async () => {
    const { id } = await agent.client.pty.create({
      cols: 80,
      rows: 24,
      command: ["sh", "-c", "i=0; while [ $i -lt 3000 ]; do printf 'ä€🐭'; i=$((i+1)); done"],
    });
    let text = "";
    for await (const event of await agent.client.pty.attach({ id })) {
      if (event.type !== "data") continue;
      expect(event.data).not.toContain("\ufffd");
      text += event.data;
    }
    expect(text).toBe("ä€🐭".repeat(3000));
  });

  it("send the keyboard's signals to the foreground, and end with all in them when killed", async () => {
    const { id } = await agent.client.pty.create({ cols: 80, rows: 24, command: shell, env });
    const events = await agent.client.pty.attach({ id });
    await agent.client.pty.input({ id, data: "echo pid $$; sleep 1000; echo int''errupted\r" });
    const { text } = await readUntil(events, /pid \d+/);
    const pid = Number(/pid (\d+)/.exec(text)?.[1]);
    // Until sleep has the foreground, the interrupt would only clear the shell's line.
    const foreground = async () =>
      (await agent.client.exec.run({ command: `ps -o comm= --ppid ${pid}` })).stdout.trim();
    await expect.poll(foreground, { timeout: 10_000 }).toBe("sleep");
    await agent.client.pty.input({ id, data: "\u0003" });
    await agent.client.pty.input({ id, data: "echo still''here\r" });
    await readUntil(await agent.client.pty.attach({ id }), /stillhere/);
    await agent.client.pty.kill({ id });
    await expect
      .poll(async () => (await agent.client.exec.run({ command: `kill -0 ${pid}` })).exitCode, { timeout: 10_000 })
      .toBe(1);
    const caught = await agent.client.pty.input({ id, data: "x" }).catch((error) => error);
    expect(fromRpcError(caught)).toMatchObject({ code: "not_found", message: `id: no terminal ${id} is known here` });
  });

  it("tell where their process is", async () => {
    const { id } = await agent.client.pty.create({
      cols: 80,
      rows: 24,
      command: ["sh", "-c", "cd /usr; echo rea''dy; read x"],
      title: "mine",
    });
    await readUntil(await agent.client.pty.attach({ id }), /ready/);
    const known = (await agent.client.pty.list({})).ptys.find((pty) => pty.id === id);
    expect(known).toMatchObject({ cwd: "/usr", title: "mine", cols: 80, rows: 24, exitCode: null });
    await agent.client.pty.kill({ id });
  });

  it("take a paste of a megabyte", async () => {
    const { id } = await agent.client.pty.create({
      cols: 80,
      rows: 24,
      command: ["sh", "-c", "stty raw -echo; echo rea''dy; head -c 1000000 | md5sum"],
    });
    const events = await agent.client.pty.attach({ id });
    await readUntil(events, /ready/);
    const paste = "0123456789".repeat(100_000);
    await agent.client.pty.input({ id, data: paste });
    const expected = (
      await agent.client.exec.run({ command: ["md5sum"], stdin: Buffer.from(paste).toString("base64") })
    ).stdout;
    await readUntil(await agent.client.pty.attach({ id }), new RegExp(expected.slice(0, 32)));
  });
});

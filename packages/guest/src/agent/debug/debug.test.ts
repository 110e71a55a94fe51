// Sessions over a real adapter, Debian's debugpy, started by the real spawner; every message is held against the schema.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { retry } from "@dormouse/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attachDap, type DapClient, launchDap, openDap } from "../../testing/dap-client.ts";
import { startTestAgent, type TestAgent } from "../test-agent.ts";

const program = `import sys

def greet(name):
    words = ["hello", name]
    return " ".join(words)

total = 0
for number in range(3):
    total += number
    print(greet(str(number)))
print("done", total)
`;

let agent: TestAgent;
let file: string;
const clients: DapClient[] = [];

beforeEach(async () => {
  agent = await startTestAgent();
  file = join(agent.folder, "greet.py");
  await writeFile(file, program);
});
afterEach(async () => {
  for (const client of clients.splice(0)) {
    expect(client.problems).toEqual([]);
    await client[Symbol.asyncDispose]();
  }
  await agent[Symbol.asyncDispose]();
});

const configuration = (more: Record<string, unknown> = {}) => ({
  type: "python",
  request: "launch" as const,
  name: "Greet",
  program: file,
  console: "internalConsole",
  ...more,
});

async function launch(lines: (number | Record<string, unknown>)[], more: Record<string, unknown> = {}) {
  const client = await launchDap(agent.client, { configuration: configuration(more), breakpoints: { [file]: lines } });
  clients.push(client);
  return client;
}

/** Where the thread stands that stopped: file, line, function, and its local variables. */
async function standing(client: DapClient, threadId: number) {
  const { stackFrames } = await client.ask("stackTrace", { threadId });
  const [frame] = stackFrames;
  const { scopes } = await client.ask("scopes", { frameId: frame.id });
  const { variables } = await client.ask("variables", { variablesReference: scopes[0].variablesReference });
  const values = Object.fromEntries(variables.map((one: { name: string; value: string }) => [one.name, one.value]));
  return { frame, scope: scopes[0], line: frame.line as number, name: frame.name as string, values };
}

const output = (client: DapClient) =>
  client.received
    .filter(({ event, body }) => event === "output" && body.category === "stdout")
    .map(({ body }) => body.output)
    .join("");

describe("a debug session", () => {
  it("stops, steps, tells and sets variables, evaluates, and ends", async () => {
    const client = await launch([4]);
    const { body } = await client.event("stopped");
    expect(body.reason).toBe("breakpoint");
    const threadId = body.threadId;
    const at = await standing(client, threadId);
    expect(at).toMatchObject({ line: 4, name: "greet", values: { name: "'0'" } });
    await client.ask("next", { threadId });
    await client.event("stopped");
    expect((await standing(client, threadId)).values.words).toBe("['hello', '0']");
    const { scope, frame } = await standing(client, threadId);
    await client.ask("setVariable", { variablesReference: scope.variablesReference, name: "words", value: "['bye']" });
    expect(
      await client.ask("evaluate", { expression: "len(words)", frameId: frame.id, context: "repl" }),
    ).toMatchObject({
      result: "1",
    });
    await client.ask("stepOut", { threadId });
    await client.event("stopped");
    await client.ask("setBreakpoints", { source: { path: file }, breakpoints: [] });
    await client.ask("continue", { threadId });
    await client.event("terminated");
    await client.ended;
    expect(output(client)).toBe("bye\nhello 1\nhello 2\ndone 3\n");
    expect((await agent.client.debug.list({})).sessions).toEqual([]);
  });

  it("has conditions, counts of hits, log points, function and exception breakpoints", async () => {
    await writeFile(file, `${program}int("no number")\n`);
    const client = await launchDap(agent.client, {
      configuration: configuration(),
      breakpoints: {
        [file]: [
          { line: 9, condition: "number == 1" },
          { line: 10, logMessage: "at {number}" },
          { line: 4, hitCondition: "3" },
        ],
      },
      prepare: async (editor) => {
        await editor.ask("setFunctionBreakpoints", { breakpoints: [] });
        await editor.ask("setExceptionBreakpoints", { filters: ["uncaught"] });
      },
    });
    clients.push(client);
    const first = await client.event("stopped");
    const threadId = first.body.threadId;
    expect(await standing(client, threadId)).toMatchObject({ line: 9, values: { number: "1" } });
    await client.ask("continue", { threadId });
    await client.event("stopped");
    expect(await standing(client, threadId)).toMatchObject({ line: 4, values: { name: "'2'" } });
    await client.ask("continue", { threadId });
    const thrown = await client.event("stopped");
    expect(thrown.body.reason).toBe("exception");
    const info = await client.ask("exceptionInfo", { threadId });
    expect(info.exceptionId).toContain("ValueError");
    const logged = client.received
      .filter(({ body }) => /^at \d/.test(body?.output ?? ""))
      .map(({ body }) => body.output.trim());
    expect(logged).toEqual(["at 0", "at 1", "at 2"]);
    await client.ask("disconnect", { terminateDebuggee: true });
    await client.ended;
  });

  it("is found again by an editor that comes later, stopped at the same line, with what was written", async () => {
    const first = await launch([{ line: 4, condition: "name == '2'" }]);
    const { body } = await first.event("stopped");
    await first[Symbol.asyncDispose]();
    const { sessions } = await agent.client.debug.list({});
    expect(sessions).toMatchObject([{ sessionId: first.sessionId, parentId: null, state: "stopped" }]);
    expect(await agent.client.debug.breakpoints({ sessionId: first.sessionId })).toMatchObject({
      sources: [{ source: { path: file }, breakpoints: [{ line: 4, condition: "name == '2'" }] }],
    });
    const later = await attachDap(agent.client, first.sessionId);
    clients.push(later);
    const again = { configuration: configuration(), breakpoints: { [file]: [{ line: 4, condition: "name == '2'" }] } };
    await openDap(later, again);
    const stopped = await later.event("stopped");
    expect(stopped.body).toEqual(body);
    expect(await standing(later, body.threadId)).toMatchObject({ line: 4, values: { name: "'2'" } });
    expect(output(later)).toBe("hello 0\nhello 1\n");
    await later.ask("continue", { threadId: body.threadId });
    await later.ended;
    expect(output(later)).toBe("hello 0\nhello 1\nhello 2\ndone 3\n");
  });

  it("is one for two editors: what one does the other is told", async () => {
    const first = await launch([4]);
    const { body } = await first.event("stopped");
    const second = await attachDap(agent.client, first.sessionId);
    clients.push(second);
    await openDap(second, { configuration: configuration(), breakpoints: { [file]: [4] } });
    await second.event("stopped");
    await first.ask("next", { threadId: body.threadId });
    const continued = await second.event("continued");
    expect(continued.body).toMatchObject({ threadId: body.threadId, allThreadsContinued: true });
    await Promise.all([first.event("stopped"), second.event("stopped")]);
    expect((await standing(second, body.threadId)).line).toBe(5);
    await second.ask("disconnect", { terminateDebuggee: true });
    await Promise.all([first.ended, second.ended]);
    expect(first.received.some(({ event }) => event === "terminated")).toBe(true);
  });

  it("loses no message while an editor's connection is lost, and takes none of its twice", async () => {
    const client = await launch([4]);
    const { body } = await client.event("stopped");
    client.lose();
    const messages = [{ seq: 1000, type: "request" as const, command: "next", arguments: { threadId: body.threadId } }];
    const [clientId] = ["client-of-nobody"];
    await expect(agent.client.debug.send({ sessionId: client.sessionId, clientId, messages })).rejects.toThrow(
      "this session knows no client-of-nobody any more",
    );
    await client.resume();
    await client.ask("next", { threadId: body.threadId });
    await client.event("stopped");
    expect((await standing(client, body.threadId)).line).toBe(5);
    const seen = client.received.length;
    expect(
      new Set(
        client.log.filter(({ direction }) => direction === "received").map(({ message }) => JSON.stringify(message)),
      ).size,
    ).toBe(seen);
    await client.ask("disconnect", { terminateDebuggee: true });
    await client.ended;
  });

  it("runs its program in a terminal of the machine", async () => {
    const client = await launch([4], { console: "integratedTerminal" });
    await client.event("stopped");
    const [session] = (await agent.client.debug.list({})).sessions;
    const [terminal = ""] = session?.terminals ?? [];
    await client.ask("disconnect", { terminateDebuggee: false });
    await client.ended;
    let text = "";
    for await (const event of await agent.client.pty.attach({ id: terminal })) {
      if (event.type === "data") text += event.data;
      if (text.includes("done 3")) break;
    }
    expect(text).toContain("hello 1\r\n");
    await agent.client.pty.kill({ id: terminal });
  });

  it("can be attached to a port, and to a process of the list", async () => {
    await writeFile(file, "import time\nwhile True:\n    time.sleep(0.05)\n");
    const port = 20_000 + (process.pid % 20_000);
    const command = ["python3", "-m", "debugpy", "--listen", `127.0.0.1:${port}`, file];
    const { processId, pid } = await agent.client.exec.start({ command });
    const { processes } = await agent.client.debug.processes({});
    expect(processes.find((one) => one.pid === pid)).toMatchObject({ command, user: "root" });
    await retry(
      async () => {
        const { ports } = await agent.client.ports.list({});
        if (!ports.some((one) => one.port === port)) throw new Error(`nothing listens on ${port}`);
      },
      { attempts: 200, delayMs: 50, maxDelayMs: 50 },
    );
    const wanted = { type: "python", request: "attach" as const, name: "Attach", connect: { host: "127.0.0.1", port } };
    const client = await launchDap(agent.client, { configuration: wanted, breakpoints: { [file]: [3] } });
    clients.push(client);
    const { body } = await client.event("stopped");
    expect((await standing(client, body.threadId)).line).toBe(3);
    await client.ask("disconnect", { terminateDebuggee: false });
    await client.ended;
    await agent.client.exec.signal({ processId, signal: "SIGKILL" });
  });
});

describe("a Node.js that runs", () => {
  it("listens for a debugger when it is told to, on the same port each time", async () => {
    const command = [process.execPath, "--inspect-port=0", "-e", "setInterval(() => {}, 1000); console.log('runs')"];
    const { processId, pid } = await agent.client.exec.start({ command });
    for await (const event of await agent.client.exec.attach({ processId })) if (event.type === "stdout") break;
    const { port } = await agent.client.debug.openInspector({ pid });
    const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
    expect(targets).toMatchObject([{ type: "node" }]);
    expect(await agent.client.debug.openInspector({ pid })).toEqual({ port });
    await agent.client.exec.signal({ processId, signal: "SIGKILL" });
  });

  it("is told from what the signal would end, and from what is not there", async () => {
    const { processId, pid } = await agent.client.exec.start({ command: ["sleep", "60"] });
    await expect(agent.client.debug.openInspector({ pid })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/^pid: process \d+ is .*; only a Node.js listens when it is told to$/),
    });
    expect((await agent.client.exec.list({})).processes).toMatchObject([{ processId, exitCode: null }]);
    await agent.client.exec.signal({ processId, signal: "SIGKILL" });
    await expect(agent.client.debug.openInspector({ pid: 2 ** 22 })).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("what cannot be debugged", () => {
  it.each([
    [{ type: "cobol" }, "type: there is no debugger for cobol; there are node, pwa-node, debugpy, python, gdb"],
    [{ request: "run" }, 'configuration.request: Invalid option: expected one of "launch"|"attach"'],
  ])("is refused at once: %j", async (more, told) => {
    const started = agent.client.debug.start({
      sessionId: "session-refused",
      configuration: configuration(more) as never,
    });
    await expect(started).rejects.toThrow(told);
    expect((await agent.client.debug.list({})).sessions).toEqual([]);
  });

  it("is said in the session: a Python that is not there", async () => {
    const sessionId = "session-without-python";
    const wanted = configuration({ python: "/opt/no/python" });
    const work = async () => {
      await agent.client.debug.start({ sessionId, configuration: wanted });
      const client = await attachDap(agent.client, sessionId);
      await client.ended;
      throw new Error(client.received.map(({ body }) => body?.output ?? "").join(""));
    };
    await expect(work()).rejects.toThrow("/opt/no/python is not installed in this workspace");
    expect((await agent.client.debug.list({})).sessions).toEqual([]);
  });

  it("is said by the interpreter: a program that is not there", async () => {
    const client = await launch([], { program: join(agent.folder, "none.py") });
    await client.ended;
    const told = client.received.map(({ body }) => body?.output ?? "").join("");
    expect(told).toMatch(/none\.py/);
  });
});

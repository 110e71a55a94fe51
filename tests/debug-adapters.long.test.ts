// Each debugger that the product brings, as it brings it, over the real agent on this host; its messages are held against the
// published schema, and the log of each session is kept.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createGuestClient } from "@dormouse/guest";
import { attachDap, type DapClient, launchDap, openDap } from "@dormouse/guest/testing";
import { buildDebugTools } from "@dormouse/image";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeDebugProgram } from "./support/debug-programs.ts";
import { eventually } from "./support/eventually.ts";
import { startMachine, type TestMachine } from "./support/workbench-machine.ts";

const logs = process.env.DORMOUSE_DEBUG_LOGS ?? join(tmpdir(), "dormouse-debug-logs");
/**
 * js-debug marks frames of Node itself as VS Code has it (`deemphasize`), which the protocol has for sources only; gdb says
 * `process` for how a program was started.
 */
const knownProblem =
  /^StackTraceResponse\/body\/stackFrames\/\d+\/presentationHint must be equal|^ProcessEvent\/body\/startMethod must be equal/;

let folder: string;
let machine: TestMachine;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-debug-"));
  await mkdir(logs, { recursive: true });
  const tools = await buildDebugTools();
  machine = await startMachine({
    HOME: folder,
    DORMOUSE_DEBUG_TOOLS: tools.path,
    DORMOUSE_DEBUG_NODE: process.execPath,
  });
});
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** The innermost frame, and its variables by name. */
async function standing(client: DapClient, threadId: number) {
  const { stackFrames } = await client.ask("stackTrace", { threadId });
  const { scopes } = await client.ask("scopes", { frameId: stackFrames[0].id });
  const values: Record<string, string> = {};
  for (const scope of scopes.filter((one: { expensive: boolean }) => !one.expensive)) {
    const { variables } = await client.ask("variables", { variablesReference: scope.variablesReference });
    for (const { name, value } of variables) values[name] ??= value;
  }
  return { frame: stackFrames[0], frames: stackFrames, values };
}

/** js-debug has a session of its own for each process. */
async function withThread(client: DapClient & { sessionId: string }, type: string): Promise<DapClient> {
  if (type !== "node") return client;
  const guest = createGuestClient({ baseUrl: machine.url, token: machine.token });
  const child = await eventually("the process has a session", async () => {
    const { sessions } = await guest.debug.list({});
    return sessions.find(({ parentId, state }) => parentId === client.sessionId && state === "stopped");
  });
  const editor = await attachDap(guest, child.sessionId);
  await openDap(editor, { configuration: child.configuration });
  return editor;
}

it.each(["node", "typescript", "python", "gdb", "go"])(
  "%s: stops, steps, evaluates, and is found again",
  async (kind) => {
    const guest = createGuestClient({ baseUrl: machine.url, token: machine.token });
    const { configuration, file, line, a } = await makeDebugProgram(kind, folder);
    const breakpoints = { [file]: [line] };
    const root = await launchDap(guest, { configuration, breakpoints });
    const client = await withThread(root, configuration.type);
    const { body } = await client.event("stopped");
    const { threadId } = body;
    const at = await standing(client, threadId);
    expect(at.frame).toMatchObject({ line });
    expect(at.frame.source.path).toBe(file);
    expect(at.values.a).toBe(a);
    expect((await client.ask("threads")).threads.length).toBeGreaterThan(0);
    // In gdb's own console one types its commands.
    const context = kind === "gdb" ? "watch" : "repl";
    const evaluated = await client.ask("evaluate", { expression: "a + 40", frameId: at.frame.id, context });
    expect(evaluated.result).toBe("41");
    await client.ask("next", { threadId });
    await client.event("stopped");
    expect((await standing(client, threadId)).frame.line).toBe(line + 1);
    // Another editor finds it where it stands.
    const session = (await guest.debug.list({})).sessions.find(({ state }) => state === "stopped");
    const later = await attachDap(guest, session?.sessionId ?? "");
    await openDap(later, { configuration: session?.configuration ?? configuration, breakpoints });
    await later.event("stopped");
    expect((await standing(later, threadId)).frame.line).toBe(line + 1);
    await later.ask("stepOut", { threadId });
    await client.event("stopped");
    await root.ask("disconnect", { terminateDebuggee: true });
    await root.ended;
    await eventually("all of it is over", async () => (await guest.debug.list({})).sessions.length === 0);
    const editors = [...new Set([root, client, later])];
    await writeFile(
      join(logs, `${kind}.json`),
      JSON.stringify(
        editors.map(({ log, problems }) => ({ problems, log })),
        null,
        1,
      ),
    );
    expect(editors.flatMap(({ problems }) => problems).filter((problem) => !knownProblem.test(problem))).toEqual([]);
  },
);

it("node: starts its program again, and leaves no process behind", async () => {
  const guest = createGuestClient({ baseUrl: machine.url, token: machine.token });
  const { configuration, file, line } = await makeDebugProgram("node", folder);
  const root = await launchDap(guest, { configuration, breakpoints: { [file]: [line] } });
  const stopped = async () => (await guest.debug.list({})).sessions.find(({ state }) => state === "stopped")?.sessionId;
  const first = await eventually("it stands", stopped);
  await root.ask("restart", { arguments: configuration });
  await eventually("it stands again", async () => {
    const second = await stopped();
    return second !== undefined && second !== first;
  });
  await root.ask("disconnect", { terminateDebuggee: true });
  await root.ended;
  await eventually("its program has ended", async () => {
    const { processes } = await guest.debug.processes({});
    return !processes.some(({ command }) => command.some((word) => word.endsWith("sum.js")));
  });
});

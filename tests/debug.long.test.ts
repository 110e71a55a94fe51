// Debugging in real machines: the debuggers as the product brings them, through gateway and host, and through a sleep.
import { createGuestClient, type GuestClient } from "@dormouse/guest";
import { attachDap, type DapClient, launchDap, openDap } from "@dormouse/guest/testing";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { debugFolder } from "./support/debug-programs.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
let workspace: Workspace;

beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 1 });
  workspace = await Workspace.create({ connection: platform.connection, name: "debugged" });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const guestClient = (): GuestClient =>
  createGuestClient({ baseUrl: `${platform.url}/api/workspaces/${workspace.id}/guest`, token: platform.apiKey });

/** js-debug has a session of its own for each process. */
async function stoppedSession(guest: GuestClient) {
  return eventually(
    "a session stands",
    async () => (await guest.debug.list({})).sessions.find(({ state }) => state === "stopped"),
    120_000,
  );
}

/** Where it stands: the line, and the variables by name. */
async function standing(client: DapClient, threadId: number) {
  const { stackFrames } = await client.ask("stackTrace", { threadId });
  const { scopes } = await client.ask("scopes", { frameId: stackFrames[0].id });
  const { variables } = await client.ask("variables", { variablesReference: scopes[0].variablesReference });
  const values = Object.fromEntries(variables.map(({ name, value }: { name: string; value: string }) => [name, value]));
  return { line: stackFrames[0].line as number, path: stackFrames[0].source.path as string, values };
}

it.each(["python", "node", "typescript", "gdb"])("%s stands where it stood after a sleep", async (kind) => {
  const startedMs = Date.now();
  const guest = guestClient();
  const { configuration, file, line, a, files, build } = debugFolder(kind, "/workspace");
  for (const [path, text] of Object.entries(files)) await workspace.files.write(path, text);
  if (build) expect(await workspace.exec(build)).toMatchObject({ exitCode: 0 });
  const breakpoints = { [file]: [line] };
  const root = await launchDap(guest, { configuration, breakpoints });
  const session = await stoppedSession(guest);
  const stoppedMs = Date.now() - startedMs;
  const client = await attachDap(guest, session.sessionId);
  await openDap(client, { configuration: session.configuration, breakpoints });
  const { body } = await client.event("stopped");
  const before = await standing(client, body.threadId);
  expect(before).toMatchObject({ line, path: file });
  expect(before.values.a).toBe(a);
  const { memoryTotalBytes, memoryAvailableBytes } = await guest.machine.metrics({});
  const usedMib = Math.round((memoryTotalBytes - memoryAvailableBytes) / 2 ** 20);
  process.stdout.write(`${JSON.stringify({ kind, stoppedMs, usedMib })}\n`);
  // Whoever follows would wake it.
  await root[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
  await workspace.hibernate();
  expect(workspace.state).toBe("hibernated");
  await workspace.wake();
  const later = await attachDap(guest, session.sessionId);
  await openDap(later, { configuration: session.configuration, breakpoints });
  const again = await later.event("stopped");
  expect(again.body.threadId).toBe(body.threadId);
  expect(await standing(later, body.threadId)).toEqual(before);
  await later.ask("next", { threadId: body.threadId });
  await later.event("stopped");
  expect((await standing(later, body.threadId)).line).toBe(line + 1);
  await guest.debug.stop({ sessionId: root.sessionId });
  await eventually("all of it is over", async () => (await guest.debug.list({})).sessions.length === 0);
});

import { createLogger, disposer, type LogFields } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startControl } from "../control.ts";
import {
  createTestDatabase,
  startTestPlatform,
  startTestPostgres,
  type TestPlatform,
  testLog,
} from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(() => {
  platform.host.behaviour.before = undefined;
});

async function create(body: Record<string, unknown>): Promise<string> {
  const { status, body: workspace } = await platform.call("POST", "/api/workspaces", { body });
  expect(status, JSON.stringify(workspace)).toBe(201);
  return String(workspace.id);
}

/** Waits for what the reconciler does on its own, as a client would. */
async function eventually(path: string, expected: unknown) {
  await vi.waitFor(async () => expect(await platform.call("GET", path)).toMatchObject(expected as object), {
    timeout: 20_000,
    interval: 50,
  });
}

test("a machine that dies makes its workspace failed with the reason; waking starts it again from its disk", async () => {
  const { call, host } = platform;
  const id = await create({ name: "dies" });
  host.change(id, { state: "dead", reason: "QEMU ended with signal SIGKILL", pid: null });
  await eventually("/api/workspaces/dies", { body: { state: "failed", reason: "QEMU ended with signal SIGKILL" } });
  expect(await call("POST", "/api/workspaces/dies/exec", { body: { command: "true" } })).toMatchObject({
    status: 409,
    body: {
      code: "failed_precondition",
      message: expect.stringMatching(/^workspace dies is failed: QEMU ended .*; wake it to start it again/),
    },
  });
  expect(await call("POST", "/api/workspaces/dies/wake")).toMatchObject({ body: { state: "running", reason: null } });
  expect(host.machines.get(id)).toMatchObject({ state: "running", generation: 2 });
  await call("DELETE", "/api/workspaces/dies");
});

test("a machine that its host finds again makes its workspace run again; one whose disk is gone is not made anew", async () => {
  const { call, host } = platform;
  const id = await create({ name: "lost" });
  const machine = host.machines.get(id);
  if (!machine) throw new Error("no machine");
  host.machines.delete(id);
  await eventually("/api/workspaces/lost", {
    body: { state: "failed", reason: "its host has no machine of it any more" },
  });
  expect(await call("POST", "/api/workspaces/lost/wake")).toMatchObject({
    status: 500,
    body: { code: "data_loss", message: expect.stringContaining("delete the workspace and create it anew") },
  });
  host.machines.set(id, machine);
  await eventually("/api/workspaces/lost", { body: { state: "running", reason: null } });
  await call("DELETE", "/api/workspaces/lost");
});

test("what a host puts to sleep is hibernated, and the next command wakes it", async () => {
  const { call, host } = platform;
  const id = await create({ name: "sleeps" });
  host.change(id, { state: "hibernated", pid: null });
  await eventually("/api/workspaces/sleeps", { body: { state: "hibernated", startedAt: null } });
  const result = await call("POST", "/api/workspaces/sleeps/exec", { body: { command: "echo awake" } });
  expect(result.body).toMatchObject({ stdout: "awake\n" });
  expect(await call("POST", "/api/workspaces/sleeps/hibernate")).toMatchObject({ body: { state: "hibernated" } });
  expect(await call("POST", "/api/workspaces/sleeps/hibernate")).toMatchObject({ body: { state: "hibernated" } });
  await call("DELETE", "/api/workspaces/sleeps");
});

test("a machine that will not sleep or wake keeps what it was, with the reason", async () => {
  const { call, host } = platform;
  await create({ name: "stubborn" });
  host.behaviour.before = (what) => {
    if (what === "hibernate") throw new Error("no space");
  };
  expect((await call("POST", "/api/workspaces/stubborn/hibernate")).status).toBe(500);
  expect(await call("GET", "/api/workspaces/stubborn")).toMatchObject({ body: { state: "running" } });
  host.behaviour.before = undefined;
  await call("DELETE", "/api/workspaces/stubborn");
});

test("deleting interrupts a creation that is under way, and nothing stays", async () => {
  const { call, host } = platform;
  let cloning = () => {};
  const reached = new Promise<void>((resolve) => {
    cloning = resolve;
  });
  host.behaviour.before = (what) => {
    if (what !== "clone") return;
    cloning();
    return new Promise(() => {});
  };
  const body = { name: "slow", repository: "https://example.test/slow.git" };
  const creation = call("POST", "/api/workspaces", { body });
  await reached;
  expect(await call("GET", "/api/workspaces/slow")).toMatchObject({ body: { state: "preparing" } });
  expect((await call("DELETE", "/api/workspaces/slow")).status).toBe(200);
  expect(await creation).toMatchObject({ status: 409, body: { code: "aborted" } });
  expect(host.machines.size).toBe(0);
});

test("without waiting, progress and failure are told to who follows", async () => {
  const { call, control, apiKey } = platform;
  const body = { name: "followed", repository: "https://example.test/missing.git", wait: false };
  const started = await call("POST", "/api/workspaces", { body });
  expect(started.body.state).toBe("creating");
  const response = await fetch(`${control.url}/api/workspaces/followed/events`, {
    headers: { authorization: `Bearer ${apiKey}` },
  });
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += new TextDecoder().decode(chunk as Uint8Array);
    if (text.includes('"failed"')) break;
  }
  expect(text).toContain("there is no repository https://example.test/missing.git");
  await call("DELETE", "/api/workspaces/followed");
});

test("what outlives its time is deleted", async () => {
  const { host } = platform;
  const id = await create({ name: "brief", ttlSeconds: 1 });
  expect(host.machines.has(id)).toBe(true);
  await eventually("/api/workspaces/brief", { status: 404 });
  expect(host.machines.has(id)).toBe(false);
});

test("machines of no workspace are deleted, but not when the database is another's", async () => {
  const { host, control, config } = platform;
  const id = await create({ name: "known" });
  const known = host.machines.get(id);
  if (!known) throw new Error("no machine");
  host.machines.set("ws-nobody", { ...known, workspaceId: "ws-nobody" });
  await vi.waitFor(() => expect([...host.machines.keys()]).toEqual([id]), { timeout: 20_000, interval: 50 });

  await control[Symbol.asyncDispose]();
  const foreign = await createTestDatabase({ url: config.databaseUrl });
  const kept: unknown[] = [];
  const log = createLogger({ level: "error", write: (line) => kept.push((JSON.parse(line) as LogFields).workspaceId) });
  const other = await startControl({ ...config, databaseUrl: foreign }, log);
  await vi.waitFor(() => expect(kept).toContain(id), { timeout: 20_000, interval: 50 });
  await other[Symbol.asyncDispose]();
  expect(host.machines.has(id)).toBe(true);

  const again = await startControl(config, testLog);
  resources.add(async () => again[Symbol.asyncDispose]());
  const response = await fetch(`${again.url}/api/workspaces/known`, {
    headers: { authorization: `Bearer ${platform.apiKey}` },
  });
  expect(await response.json()).toMatchObject({ state: "running" });
});

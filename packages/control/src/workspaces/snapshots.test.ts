import { setTimeout } from "node:timers/promises";
import { disposer } from "@dormouse/base";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(() => {
  platform.host.behaviour.before = undefined;
});

async function create(name: string, body: Record<string, unknown> = {}): Promise<string> {
  const answer = await platform.call("POST", "/api/workspaces", { body: { name, ...body } });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return String(answer.body.id);
}

async function snapshot(name: string, body: Record<string, unknown> = {}) {
  const answer = await platform.call("POST", `/api/workspaces/${name}/snapshots`, { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body as { id: string; createdAt: string };
}

/** Waits for what the reconciler does on its own, as a client would. */
async function eventually(path: string, expected: object) {
  await vi.waitFor(async () => expect(await platform.call("GET", path)).toMatchObject(expected), {
    timeout: 20_000,
    interval: 50,
  });
}

test("a timeline lists what was kept, newest first, and forgets what is deleted", async () => {
  const { call } = platform;
  const id = await create("kept");
  const first = await snapshot("kept", { name: "first" });
  const second = await snapshot("kept");
  const { body } = await call("GET", "/api/workspaces/kept/snapshots");
  expect(body.snapshots).toMatchObject([
    { id: second.id, name: null, reason: "manual", parent: { workspaceId: id, id: first.id } },
    { id: first.id, name: "first", reason: "manual", parent: null },
  ]);
  await eventually("/api/workspaces/kept", { body: { snapshotAt: second.createdAt } });
  expect(await call("DELETE", `/api/workspaces/kept/snapshots/${second.id}`)).toMatchObject({ status: 200 });
  expect(await call("DELETE", `/api/workspaces/kept/snapshots/${second.id}`)).toMatchObject({
    status: 404,
    body: { code: "not_found", message: `there is no snapshot ${second.id} of ${id}` },
  });
  await call("DELETE", "/api/workspaces/kept");
});

test("going back keeps the present first, takes a new generation, and says what was done", async () => {
  const { call, host } = platform;
  const id = await create("back");
  const kept = await snapshot("back", { name: "good" });
  const { body } = await call("POST", "/api/workspaces/back/restore", { body: { snapshot: "good" } });
  expect(body).toMatchObject({ state: "running", reason: expect.stringContaining(`snapshot of ${kept.createdAt}`) });
  expect(host.machines.get(id)).toMatchObject({ generation: 2, state: "running" });
  expect(host.snapshots.get(id)?.[0]).toMatchObject({ name: "before going back" });
  expect(await call("POST", "/api/workspaces/back/restore", { body: { snapshot: "nowhere" } })).toMatchObject({
    status: 404,
    body: { message: 'snapshot is "nowhere": workspace back has none of that id or name; it has 2' },
  });
  expect(host.machines.get(id)).toMatchObject({ generation: 2, state: "running" });
  await call("DELETE", "/api/workspaces/back");
});

test("forks go on from one snapshot, with names and environments of their own; each fails by itself", async () => {
  const { call, host } = platform;
  const id = await create("parent", { env: { SECRET: "of-the-parent" } });
  let machines = 0;
  host.behaviour.before = (kind) => {
    if (kind === "create" && ++machines === 2) throw new Error("this one does not start");
  };
  const answer = await call("POST", "/api/workspaces/parent/fork", {
    body: { count: 3, name: "child", env: { MINE: "1" } },
  });
  expect(answer.status).toBe(201);
  const { snapshot: source, forks } = answer.body as { snapshot: { id: string }; forks: Record<string, unknown>[] };
  const forkedFrom = { workspaceId: id, id: source.id };
  expect(forks).toMatchObject([
    { workspace: { name: "child-1", state: "running", forkedFrom } },
    { error: { code: "internal" } },
    { workspace: { name: "child-3", state: "running", forkedFrom } },
  ]);
  const { body } = await call("GET", "/api/workspaces");
  const names = (body.workspaces as { name: string }[]).map(({ name }) => name);
  expect(names).toEqual(["parent", "child-1", "child-3"]);
  for (const name of names) await call("DELETE", `/api/workspaces/${name}`);
});

test("a fork of what sleeps starts from its sleep and leaves it asleep", async () => {
  const { call, host } = platform;
  const id = await create("asleep");
  await call("POST", "/api/workspaces/asleep/hibernate");
  const { body } = await call("POST", "/api/workspaces/asleep/fork", { body: {} });
  expect(body).toMatchObject({ snapshot: { reason: "hibernate" }, forks: [{ workspace: { state: "running" } }] });
  expect(host.machines.get(id)).toMatchObject({ state: "hibernated" });
  const { workspace } = (body.forks as { workspace: { name: string } }[])[0] ?? {};
  for (const name of ["asleep", workspace?.name]) await call("DELETE", `/api/workspaces/${name}`);
});

test.each([
  [0, "at least one fork"],
  [10_000, "at most 100 forks at once"],
])("%i forks are refused, and nothing is done", async (count, why) => {
  const { call, host } = platform;
  const id = await create("many");
  const { status, body } = await call("POST", "/api/workspaces/many/fork", { body: { count } });
  expect({ status, message: body.message }).toEqual({ status: 400, message: expect.stringContaining(why) });
  expect(host.snapshots.get(id)).toBeUndefined();
  await call("DELETE", "/api/workspaces/many");
});

test("a machine that dies goes back to its newest snapshot by itself, and says how old that is", async () => {
  const { call, host } = platform;
  const id = await create("mortal");
  await snapshot("mortal");
  await aged(id);
  host.change(id, { state: "dead", reason: "QEMU ended with signal SIGKILL", pid: null });
  await eventually("/api/workspaces/mortal", {
    body: {
      state: "running",
      reason: expect.stringMatching(/^QEMU ended with signal SIGKILL; it goes on from its snapshot of \S+, .* before$/),
    },
  });
  expect(host.machines.get(id)).toMatchObject({ generation: 2, state: "running" });
  // It has just come back: one that dies again at once would do so for ever.
  host.change(id, { state: "dead", reason: "again", pid: null });
  await eventually("/api/workspaces/mortal", { body: { state: "failed", reason: "again" } });
  expect(await call("POST", "/api/workspaces/mortal/wake")).toMatchObject({ body: { state: "running" } });
  await call("DELETE", "/api/workspaces/mortal");
});

test("what is idle for as long as it may be is put to sleep; what is kept awake is not", async () => {
  const { call, host } = platform;
  const idle = await create("idle", { hibernateAfterSeconds: 60 });
  const busy = await create("busy", { hibernateAfterSeconds: 60 });
  const forever = await create("forever", { hibernateAfterSeconds: null });
  const longAgo = { activeMs: Date.now() - 61_000 };
  host.change(busy, { ...longAgo, keptAwakeBy: "an open editor" });
  host.change(forever, longAgo);
  host.change(idle, longAgo);
  await eventually("/api/workspaces/idle", { body: { state: "hibernated" } });
  await eventually("/api/workspaces/busy", { body: { state: "running", keptAwakeBy: "an open editor" } });
  expect(await call("GET", "/api/workspaces/forever")).toMatchObject({ body: { state: "running" } });
  const { body } = await call("PATCH", "/api/workspaces/busy", { body: { hibernateAfterSeconds: 5 } });
  expect(body).toMatchObject({ code: "invalid_argument", message: expect.stringContaining("at least 60 seconds") });
  for (const name of ["idle", "busy", "forever"]) await call("DELETE", `/api/workspaces/${name}`);
});

test("what sleeps for as long as it may is deleted; what is woken in between is not", async () => {
  const { call } = platform;
  const ids = [
    await create("forgotten", { deleteAfterSeconds: 60 }),
    await create("loved", { deleteAfterSeconds: 60 }),
  ];
  for (const name of ["forgotten", "loved"]) await call("POST", `/api/workspaces/${name}/hibernate`);
  expect(await query("SELECT id FROM workspaces WHERE asleep_since IS NULL AND id = ANY($1)", ids)).toEqual([]);
  await call("POST", "/api/workspaces/loved/wake");
  await query("UPDATE workspaces SET asleep_since = asleep_since - interval '61 seconds' WHERE id = ANY($1)", ids);
  await vi.waitFor(async () => expect((await call("GET", "/api/workspaces/forgotten")).status).toBe(404), {
    timeout: 20_000,
    interval: 100,
  });
  // Its time begins with the setting, as a time to live does: what has slept for long already is not gone at once.
  await create("old");
  await call("POST", "/api/workspaces/old/hibernate");
  await query("UPDATE workspaces SET asleep_since = asleep_since - interval '61 seconds' WHERE name = 'old'");
  await call("PATCH", "/api/workspaces/old", { body: { deleteAfterSeconds: 60 } });
  // Asleep again, it has all of its time again.
  await call("POST", "/api/workspaces/loved/hibernate");
  await setTimeout(3_000);
  expect(await call("GET", "/api/workspaces/loved")).toMatchObject({
    body: { state: "hibernated", deleteAfterSeconds: 60 },
  });
  expect(await call("GET", "/api/workspaces/old")).toMatchObject({ body: { state: "hibernated" } });
  await call("DELETE", "/api/workspaces/old");
  const { body } = await call("PATCH", "/api/workspaces/loved", { body: { deleteAfterSeconds: 1 } });
  expect(body).toMatchObject({ code: "invalid_argument", message: expect.stringContaining("at least 60 seconds") });
  await call("DELETE", "/api/workspaces/loved");
});

test("what would be lost with a workspace is known from its newest snapshot; nothing is woken", async () => {
  const { call, host } = platform;
  await create("worker");
  expect(await call("GET", "/api/workspaces/worker/unpushed")).toMatchObject({ status: 200, body: { work: null } });
  host.behaviour.git = { branch: "main", head: "0123abcd", changedFiles: 2, unpushedCommits: 3, stashes: 1 };
  await call("POST", "/api/workspaces/worker/hibernate");
  host.behaviour.git = null;
  expect(await call("GET", "/api/workspaces/worker/unpushed")).toMatchObject({
    body: { work: { at: expect.any(String), branch: "main", changedFiles: 2, commits: 3, stashes: 1 } },
  });
  expect(await call("GET", "/api/workspaces/worker")).toMatchObject({ body: { state: "hibernated" } });
  // What was not counted is not none.
  await call("POST", "/api/workspaces/worker/wake");
  host.behaviour.git = { branch: "main", head: "0123abcd", changedFiles: 0, unpushedCommits: null, stashes: null };
  await call("POST", "/api/workspaces/worker/hibernate");
  host.behaviour.git = null;
  expect(await call("GET", "/api/workspaces/worker/unpushed")).toMatchObject({
    body: { work: { changedFiles: 0, commits: null, stashes: null } },
  });
  expect(await call("GET", "/api/workspaces/nobody/unpushed")).toMatchObject({ status: 404 });
  await call("DELETE", "/api/workspaces/worker");
});

test("what is used is written down: a row for each time a machine ran, one for an hour's snapshots", async () => {
  const { call } = platform;
  const id = await create("metered");
  await snapshot("metered");
  await call("POST", "/api/workspaces/metered/hibernate");
  await vi.waitFor(
    async () => {
      const columns = "kind, generation, vcpus, snapshot_bytes, organisation_id";
      const rows = await query(`SELECT ${columns} FROM usage WHERE workspace_id = $1`, id);
      expect(rows).toContainEqual({
        ...{ kind: "awake", generation: 1, vcpus: 1, snapshot_bytes: expect.any(String) },
        organisation_id: expect.stringMatching(/^org-/),
      });
    },
    { timeout: 20_000, interval: 100 },
  );
  await call("DELETE", "/api/workspaces/metered");
  expect(await query("SELECT kind FROM usage WHERE workspace_id = $1", id)).not.toEqual([]);
});

async function query(text: string, ...values: unknown[]): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: platform.config.databaseUrl });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** As if the machine had run for a minute. */
async function aged(id: string): Promise<void> {
  await query("UPDATE workspaces SET started_at = now() - interval '1 minute' WHERE id = $1", id);
}

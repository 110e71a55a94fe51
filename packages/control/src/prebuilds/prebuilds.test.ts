import { createHmac } from "node:crypto";
import { disposer } from "@dormouse/base";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { openDatabase } from "../database/open.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform, testLog } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
let database: Awaited<ReturnType<typeof openDatabase>>;
/** What `git ls-remote` says, and the commit that is checked out, by repository. */
const refs = new Map<string, Record<string, string>>();
beforeAll(async () => {
  const options = { prebuilds: { lookEverySeconds: 0 } };
  platform = await startTestPlatform(resources, await startTestPostgres(resources), options);
  database = await openDatabase({ url: platform.config.databaseUrl, log: testLog });
  resources.add(async () => database[Symbol.asyncDispose]());
  platform.host.files.set("/etc/environment", "PATH=/base/bin:/bin\n");
  platform.host.behaviour.run = (line) => {
    const [, address] = /^git ls-remote -- (\S+)/.exec(line) ?? [];
    if (address !== undefined) {
      return Object.entries(refs.get(address) ?? {})
        .map(([ref, commit]) => `${commit}\t${ref}\n`)
        .join("");
    }
    if (line === "git rev-parse HEAD") return `${checkedOut}\n`;
    return line.startsWith("git reset") ? "" : undefined;
  };
});
afterAll(async () => resources[Symbol.asyncDispose]());

const one = "1".repeat(40);
const two = "2".repeat(40);
let checkedOut = one;
beforeEach(() => {
  checkedOut = one;
  platform.host.executed.length = 0;
  platform.host.created.length = 0;
});

type Body = Record<string, unknown>;
const call = (method: string, path: string, body?: unknown) => platform.call(method, path, { body });
const prebuild = { trigger: ["push", "pr", { cron: "0 3 * * 1" }], ttl: "14d" };

/** A repository with this block, prebuilt. */
async function run(name: string, block: unknown = prebuild, more: Body = {}) {
  const definition = {
    ...{ onCreateCommand: "install", updateContentCommand: "build", postCreateCommand: "greet", userEnvProbe: "none" },
    customizations: { dormouse: { prebuild: block } },
  };
  platform.host.files.set(`/workspaces/${name}/.devcontainer.json`, JSON.stringify(definition));
  const repository = `https://git.example/${name}.git`;
  const { status, body } = await call("POST", "/api/prebuilds", { repository, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return { repository, id: String(body.id) };
}

const get = async (id: string) => (await call("GET", `/api/prebuilds/${id}`)).body;
const settled = (id: string, expected: Body) =>
  vi.waitFor(async () => expect(await get(id)).toMatchObject(expected), { timeout: 20_000, interval: 100 });
/** Of workspaces: those in which repositories are looked at are nobody's. */
const machines = () => platform.host.created.filter(({ workspaceId }) => workspaceId.startsWith("ws"));
const ran = () => platform.host.executed.flatMap((line) => /sh -c (install|build|greet)$/.exec(line)?.[1] ?? []);

async function notify(id: string, secret: string, body = '{"ref":"refs/heads/main"}') {
  const signature = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
  const headers = { "x-hub-signature-256": signature, origin: "https://git.example" };
  const response = await fetch(`${platform.control.url}/api/prebuilds/${id}/hook`, { method: "POST", headers, body });
  return response.status;
}

test("a repository is set up ahead, and its next workspace does only what is left", async () => {
  const { host } = platform;
  const { id, repository } = await run("app");
  await settled(id, { state: "ready", commit: one, triggers: prebuild.trigger, problem: null });
  expect(ran()).toEqual(["install", "build"]);
  const { nextAt, builtAt, expiresAt } = (await get(id)) as Record<string, string>;
  expect(new Date(nextAt ?? "")).toSatisfy((at: Date) => at.getUTCDay() === 1 && at.getUTCHours() === 3);
  expect(Date.parse(expiresAt ?? "") - Date.parse(builtAt ?? "")).toBe(14 * 86_400_000);
  expect((await call("GET", `/api/prebuilds/${id}/logs`)).body.text).toMatch(/=== onCreateCommand\n.*said so/s);
  // Neither the workspace that it was, nor a template that others could name, is left to be seen.
  expect((await call("GET", "/api/workspaces")).body).toEqual({ workspaces: [] });
  expect((await call("GET", "/api/templates")).body.templates).toMatchObject([{ name: "base" }]);
  expect((await call("GET", `/api/templates/prebuild:${id}`)).status).toBe(404);
  expect((await call("POST", "/api/workspaces", { template: `prebuild:${id}` })).status).toBe(404);

  host.executed.length = 0;
  host.created.length = 0;
  const { body: workspace } = await call("POST", "/api/workspaces", { repository });
  expect(workspace).toMatchObject({ state: "running", template: "base", devcontainer: { problem: null, notes: [] } });
  expect(machines()).toMatchObject([{ generation: 1, snapshot: { id: expect.stringMatching(/^snap-/) } }]);
  await vi.waitFor(() => expect(ran()).toEqual(["greet"]));
  expect(host.executed).toContain("git fetch origin HEAD as nobody");
  expect(host.executed.filter((line) => line.startsWith("git clone"))).toEqual([]);

  // Newer commits are there, and what is to follow them is run; nothing of its set-up is run again.
  host.executed.length = 0;
  checkedOut = two;
  await call("POST", "/api/workspaces", { repository: "https://me:secret@git.example/app.git" });
  await vi.waitFor(() => expect(ran()).toEqual(["build", "greet"]));
  expect(host.executed).toContain("git fetch origin HEAD as me");
  // A commit is what was prebuilt, or is not.
  host.executed.length = 0;
  await call("POST", "/api/workspaces", { repository, ref: one.slice(0, 12) });
  await vi.waitFor(() => expect(ran()).toEqual(["greet"]));
  expect(host.executed.filter((line) => line.startsWith("git"))).toEqual([]);
});

test("a workspace whose file says something else by now is what it says", async () => {
  const { host } = platform;
  const { id, repository } = await run("changed", { trigger: ["push"], ttl: "1d" });
  await settled(id, { state: "ready" });
  host.files.set("/workspaces/changed/.devcontainer.json", JSON.stringify({ image: "registry.example/app:1" }));
  host.created.length = 0;
  expect((await call("POST", "/api/workspaces", { repository })).body).toMatchObject({ state: "running" });
  expect(machines()).toMatchObject([
    { template: "base" },
    { generation: 2, template: expect.stringMatching(/^image-of-/) },
  ]);
});

test("a repository that cannot be asked for newer commits opens as it was prebuilt, and says so", async () => {
  const { id, repository } = await run("unreachable", prebuild, { ref: "away" });
  await settled(id, { state: "ready", ref: "away" });
  const { body } = await call("POST", "/api/workspaces", { repository, ref: "refs/heads/away" });
  expect(body).toMatchObject({ state: "running" });
  expect((body.devcontainer as { notes: string[] }).notes).toEqual([
    "prebuild: newer commits were not brought, this is 111111111111: the git server is away",
  ]);
});

test("a signed call has the repository looked at: pushes and pull requests are prebuilt, once", async () => {
  const { id, repository } = await run("hooked");
  refs.set(repository, { HEAD: one, "refs/heads/main": one, "refs/pull/1/head": one });
  await settled(id, { state: "ready" });
  const { body: hook } = await call("GET", `/api/prebuilds/${id}/hook`);
  expect(hook.path).toBe(`/api/prebuilds/${id}/hook`);
  const secret = String(hook.secret);
  // The look that follows the first building only remembers what there is.
  const looked = async () =>
    (await database.db.execute(sql`SELECT refs FROM prebuilds WHERE id = ${id} AND refs IS NOT NULL`)).rows.length;
  await vi.waitFor(async () => expect(await looked()).toBe(1), { timeout: 20_000 });

  expect(await notify(id, "wrong")).toBe(404);
  expect(await notify("pre_nothing", secret)).toBe(404);
  checkedOut = two;
  refs.set(repository, { HEAD: two, "refs/heads/main": two, "refs/pull/1/head": one, "refs/pull/2/head": two });
  platform.host.executed.length = 0;
  expect(await notify(id, secret)).toBe(202);
  await settled(id, { state: "ready", commit: two });
  const list = async () => (await call("GET", "/api/prebuilds")).body.prebuilds as Body[];
  await vi.waitFor(
    async () =>
      expect((await list()).filter(({ parentId }) => parentId === id)).toMatchObject([
        { ref: "refs/pull/2/head", state: "ready", commit: two, triggers: [] },
      ]),
    { timeout: 20_000 },
  );
  expect(ran()).toEqual(["install", "build", "install", "build"]);
  // One version is kept of each.
  const kept = [...platform.host.snapshots.values()].flat().filter(({ name }) => name?.includes(id));
  expect(kept).toHaveLength(1);

  platform.host.executed.length = 0;
  await call("POST", "/api/workspaces", { repository, ref: "pull/2/head" });
  await vi.waitFor(() => expect(ran()).toEqual(["greet"]));
  expect((await call("DELETE", `/api/prebuilds/${id}`)).status).toBe(200);
  expect((await list()).filter((each) => each.repository === repository)).toEqual([]);
  expect([...platform.host.snapshots.values()].flat().filter(({ name }) => name?.includes(id))).toEqual([]);
});

test("a schedule has one made, and what is too old goes", async () => {
  const { id, repository } = await run("scheduled", { trigger: [{ cron: "* * * * *" }], ttl: "1h" });
  await settled(id, { state: "ready" });
  const { builtAt } = await get(id);
  checkedOut = two;
  await database.db.execute(sql`UPDATE prebuilds SET next_at = now() - interval '1 second' WHERE id = ${id}`);
  await settled(id, { state: "ready", commit: two });
  const again = await get(id);
  expect(again.builtAt).not.toBe(builtAt);
  expect(Date.parse(String(again.nextAt))).toBeGreaterThan(Date.parse(String(again.builtAt)));

  const older = sql`UPDATE prebuilds SET built_at = now() - interval '2 hours', next_at = null WHERE id = ${id}`;
  await database.db.execute(older);
  await settled(id, { state: "expired", commit: null, expiresAt: null });
  platform.host.executed.length = 0;
  await call("POST", "/api/workspaces", { repository });
  expect(platform.host.executed.some((line) => line.startsWith("git clone"))).toBe(true);
});

test("one that fails says why and keeps its log; the one before is started from still", async () => {
  const { host } = platform;
  const { id, repository } = await run("failing");
  await settled(id, { state: "ready" });
  const broken = { onCreateCommand: "install; exit 3", userEnvProbe: "none" };
  host.files.set("/workspaces/failing/.devcontainer.json", JSON.stringify(broken));
  await call("POST", "/api/prebuilds", { repository });
  await settled(id, { state: "failed", commit: one, problem: "onCreateCommand ended with code 3: said so" });
  expect((await call("GET", `/api/prebuilds/${id}/logs`)).body.text).toMatch(/onCreateCommand ended with code 3/);
  const all = (await call("GET", "/api/workspaces")).body.workspaces as Body[];
  expect(all.filter((each) => each.repository === repository)).toEqual([]);
  const missing = await run("missing");
  await settled(missing.id, { state: "failed", commit: null, problem: /there is no repository/ });
});

test("what is wrong is refused, and somebody else's is not there", async () => {
  expect(await call("POST", "/api/prebuilds", { repository: "/srv/app" })).toMatchObject({ status: 400 });
  const wrong = { repository: "https://git.example/app.git", ref: "--all" };
  expect(await call("POST", "/api/prebuilds", wrong)).toMatchObject({ status: 400 });
  expect(await call("GET", "/api/prebuilds/pre_other")).toMatchObject({
    status: 404,
    body: { message: 'you have no prebuild "pre_other"' },
  });
  expect((await call("DELETE", "/api/prebuilds/pre_other")).status).toBe(404);
});

import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());

const call = (method: string, path: string, body?: unknown) => platform.call(method, path, { body });
const create = (body: Record<string, unknown>) => call("POST", "/api/workspaces", body);
const bake = (workspace: unknown, name: string) => call("POST", "/api/templates", { name, workspace });

test("a workspace becomes the next version of a template, and others start from the newest", async () => {
  const repository = "https://git.example/team/app.git";
  for (const version of [1, 2]) {
    const { body: made } = await create({ name: `set-up-${version}`, repository, prebuild: true });
    // A minute's snapshot, which nobody needs once the template is there.
    await call("POST", `/api/workspaces/${made.id}/snapshots`, {});
    const baked = await bake(made.id, "app");
    expect(baked).toMatchObject({ status: 201, body: { name: "app", version, repository, folder: "/workspaces/app" } });
    expect((await call("GET", `/api/workspaces/${made.id}`)).status).toBe(404);
    expect(platform.host.machines.has(String(made.id))).toBe(false);
    expect(platform.host.snapshots.get(String(made.id))).toMatchObject([{ name: "template app", reason: "fork" }]);
  }
  const { body } = await call("GET", "/api/templates");
  expect(body.templates).toMatchObject([
    { name: "base", owner: null },
    { name: "app", version: 2, repository },
  ]);

  platform.host.executed.length = 0;
  const { body: workspace } = await create({ template: "app", env: { TOKEN: "mine" } });
  expect(workspace).toMatchObject({
    state: "running",
    name: "app",
    template: "app",
    repository,
    folder: "/workspaces/app",
  });
  // It lies in the template already.
  expect(platform.host.executed.filter((command) => command.startsWith("git clone"))).toEqual([]);
  await call("DELETE", `/api/workspaces/${workspace.id}`);
});

test("what a template has cannot be asked for in another way", async () => {
  const wrong = [
    [
      { repository: "https://git.example/team/other.git" },
      "repository: template app has https://git.example/team/app.git; create without repository",
    ],
    [
      { resources: { memoryMib: 4096 } },
      "resources.memoryMib: template app has 1024; create without resources.memoryMib",
    ],
    [{ folder: "/elsewhere" }, "folder: template app has /workspaces/app; create without folder"],
  ] as const;
  for (const [input, message] of wrong) {
    expect(await create({ template: "app", ...input })).toMatchObject({
      status: 400,
      body: { code: "invalid_argument", message },
    });
  }
});

test("what may hold secrets, a name of the product's and what is not there are refused", async () => {
  const { body: secretive } = await create({ name: "secretive", env: { TOKEN: "secret" } });
  expect(await bake("secretive", "leaky")).toMatchObject({
    status: 409,
    body: { code: "failed_precondition", message: expect.stringMatching(/created with an environment \(TOKEN\)/) },
  });
  expect(await bake("secretive", "base")).toMatchObject({
    status: 400,
    body: { message: expect.stringContaining("name is base") },
  });
  expect(await bake("nothing", "app")).toMatchObject({ status: 404 });
  expect((await call("GET", `/api/workspaces/${secretive.id}`)).body).toMatchObject({ state: "running" });
  await call("DELETE", "/api/workspaces/secretive");
});

test("a version, then all of a template goes, with its snapshots", async () => {
  expect((await call("GET", "/api/templates/app")).body.versions).toMatchObject([{ version: 2 }, { version: 1 }]);
  expect((await call("DELETE", "/api/templates/app/versions/1")).status).toBe(200);
  expect((await call("GET", "/api/templates/app")).body.versions).toMatchObject([{ version: 2 }]);
  expect(await call("DELETE", "/api/templates/app/versions/7")).toMatchObject({ status: 404 });
  expect((await call("DELETE", "/api/templates/app")).status).toBe(200);
  expect([...platform.host.snapshots.values()].flat()).toEqual([]);
  expect(await create({ template: "app" })).toMatchObject({
    status: 404,
    body: { message: 'template: there is no template "app"; the templates are: base' },
  });
});

import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  const quota = { workspaces: 3, snapshotBytes: 2048 };
  platform = await startTestPlatform(resources, await startTestPostgres(resources), { quota });
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(async () => {
  await vi.waitFor(async () => expect((await create("first")).status).toBe(201), { timeout: 20_000, interval: 100 });
  await remove("first");
});

const create = (name: string) => platform.call("POST", "/api/workspaces", { body: { name } });
const remove = (name: string) => platform.call("DELETE", `/api/workspaces/${name}`);
const quota = async () => (await platform.call("GET", "/api/me/quota")).body;

test("so many workspaces and no more, however many are asked for at once", async () => {
  const answers = await Promise.all(["a", "b", "c", "d", "e"].map(create));
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 201, 429, 429]);
  const refusal = answers.find(({ status }) => status === 429);
  expect(refusal?.body).toMatchObject({
    code: "resource_exhausted",
    message: "your quota is used up: you have 3 of 3 workspaces; delete one that is not needed",
  });
  expect(await quota()).toMatchObject({ workspaces: { used: 3, limit: 3 } });
  const { body } = await platform.call("GET", "/api/workspaces");
  const names = (body.workspaces as { name: string }[]).map(({ name }) => name);
  const fork = await platform.call("POST", `/api/workspaces/${names[0]}/fork`, { body: {} });
  expect(fork).toMatchObject({ status: 429, body: { code: "resource_exhausted" } });
  // Nothing was taken for a fork that could not be.
  expect((await platform.call("GET", `/api/workspaces/${names[0]}/snapshots`)).body.snapshots).toEqual([]);
  for (const name of names) await remove(name);
  expect((await create("again")).status).toBe(201);
  await remove("again");
});

test("snapshots by hand end with the room for them; falling asleep is never refused", async () => {
  await create("kept");
  const snapshot = () => platform.call("POST", "/api/workspaces/kept/snapshots", { body: {} });
  // The simulated host says 1 KiB for each.
  for (const count of [1, 2]) {
    expect((await snapshot()).status).toBe(201);
    await vi.waitFor(async () => expect(await quota()).toMatchObject({ snapshotBytes: { used: count * 1024 } }), {
      timeout: 20_000,
      interval: 100,
    });
  }
  expect(await snapshot()).toMatchObject({
    status: 429,
    body: {
      code: "resource_exhausted",
      message:
        "your quota is used up: you have 2 KiB of 2 KiB in snapshots; delete snapshots or workspaces that are not needed",
    },
  });
  expect(await create("another")).toMatchObject({ status: 429 });
  expect(await platform.call("POST", "/api/workspaces/kept/hibernate")).toMatchObject({
    body: { state: "hibernated" },
  });
  await remove("kept");
});

import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
  await platform.call("POST", "/api/workspaces", { body: { name: "one" } });
}, 60_000);
afterAll(async () => resources[Symbol.asyncDispose]());

const egress = async (method: string, path: string, body?: unknown) =>
  await platform.call(method, `/api/workspaces/one/egress${path}`, { body });
const lastSet = () => platform.host.egress.at(-1)?.policy;
const idOf = async (name: string) => (await platform.call("GET", `/api/workspaces/${name}`)).body.id;

test("a machine starts with the default policy: the presets, and not the world", async () => {
  const [created] = platform.host.created;
  expect(created?.egress).toMatchObject({ mode: "restricted", deny: [], caps: [] });
  expect(created?.egress?.allow).toEqual(expect.arrayContaining(["registry.npmjs.org", "pypi.org", "deb.debian.org"]));
  const { body } = await egress("GET", "");
  expect(body).toMatchObject({
    layers: { installation: { mode: "default" }, workspace: {} },
    proposed: [],
    counters: null,
  });
});

test("allowing and denying reach the host before the answer", async () => {
  expect((await egress("POST", "/allow", { rules: ["a.test", "tcp:git.test:22"] })).status).toBe(200);
  expect(lastSet()?.allow).toEqual(expect.arrayContaining(["a.test", "tcp:git.test:22", "registry.npmjs.org"]));
  await egress("POST", "/deny", { rules: ["a.test"] });
  expect(lastSet()).toMatchObject({ deny: ["a.test"] });
  expect(lastSet()?.allow).not.toContain("a.test");
  await egress("POST", "/allow", { rules: ["a.test"] });
  expect(lastSet()).toMatchObject({ deny: [] });
  await egress("PUT", "", { mode: "none", allow: ["b.test"] });
  expect(lastSet()).toEqual({ mode: "restricted", allow: ["b.test"], deny: [], caps: [] });
});

test("a wrong rule is refused with the reason, and changes nothing", async () => {
  const before = (await egress("GET", "")).body;
  const count = platform.host.egress.length;
  for (const [body, message] of [
    [{ rules: ["a b"] }, /egress.allow has "a b": a rule is \[web/],
    [{ rules: ["preset:nmp"] }, /there are the presets npm/],
    [
      { rules: Array.from({ length: 17 }, (_, port) => `tcp:10.0.0.0/8:${2 * port + 1}`) },
      /17 rules of ports that cover/,
    ],
  ] as const) {
    expect(await egress("POST", "/allow", body)).toMatchObject({
      status: 400,
      body: { message: expect.stringMatching(message) },
    });
  }
  expect((await egress("GET", "")).body).toEqual(before);
  expect(platform.host.egress).toHaveLength(count);
});

test("a layer of the installation holds for all, caps what lies below it, and is the administrator's", async () => {
  const layer = { mode: "default", deny: ["pypi.org"], cap: ["*.npmjs.org", "b.test"] };
  const put = (body: unknown) => platform.call("PUT", "/api/egress", { body });
  expect(await put({ scope: "installation", layer })).toMatchObject({ status: 200, body: layer });
  expect(lastSet()).toEqual({ mode: "restricted", allow: ["b.test"], deny: ["pypi.org"], caps: [layer.cap] });
  expect((await platform.call("GET", "/api/egress?scope=installation")).body).toEqual(layer);
  expect(await put({ scope: "template", layer })).toMatchObject({
    status: 400,
    body: { message: "name: egress of a template needs its name" },
  });
  await put({ scope: "template", name: "base", layer: { allow: ["c.npmjs.org"] } });
  expect(lastSet()?.allow).toEqual(["c.npmjs.org", "b.test"]);
  await put({ scope: "template", name: "base", layer: {} });
  await put({ scope: "installation", layer: {} });
  expect(lastSet()).toEqual({ mode: "restricted", allow: ["b.test"], deny: [], caps: [] });
});

test("a policy survives sleep, a fork inherits it, and it goes with its workspace", async () => {
  await platform.call("POST", "/api/workspaces/one/hibernate");
  await egress("POST", "/allow", { rules: ["asleep.test"] });
  const { body } = await platform.call("POST", "/api/workspaces/one/fork", { body: { name: "two" } });
  expect(body.forks).toMatchObject([{ workspace: { name: "two" } }]);
  expect(platform.host.created.at(-1)?.egress?.allow).toEqual(["b.test", "asleep.test"]);
  await platform.call("DELETE", "/api/workspaces/two");
  await platform.call("POST", "/api/workspaces", { body: { name: "two" } });
  expect(platform.host.created.at(-1)?.egress?.allow).toContain("registry.npmjs.org");
  expect((await platform.call("GET", "/api/workspaces/nobodys/egress")).status).toBe(404);
});

test("who follows a workspace hears what was refused", async () => {
  const workspaceId = String(await idOf("two"));
  const refusal = {
    ...{ firstAt: new Date(0).toISOString(), lastAt: new Date(0).toISOString(), count: 1, bytes: 60 },
    ...{ name: "evil.test", address: "192.0.2.1", port: 443, protocol: "tcp" as const },
    ...{ reason: "no rule allows it", rule: "evil.test" },
  };
  const stop = new AbortController();
  const response = await fetch(`${platform.control.url}/api/workspaces/two/events`, {
    headers: { authorization: `Bearer ${platform.apiKey}` },
    signal: stop.signal,
  });
  const telling = setInterval(() => platform.host.refuse(workspaceId, refusal), 50);
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString();
    if (text.includes("evil.test")) break;
  }
  clearInterval(telling);
  stop.abort();
  expect(text).toContain('"type":"egress"');
  expect(text).toContain('"rule":"evil.test"');
});

test("a host that comes back is told what changed while it was away", async () => {
  await platform.call("POST", "/api/workspaces/two/wake");
  platform.host.behaviour.before = (call) => {
    if (call === "egress") throw new Error("away");
  };
  const answer = await platform.call("POST", "/api/workspaces/two/egress/allow", { body: { rules: ["late.test"] } });
  expect(answer.status).toBeGreaterThanOrEqual(500);
  platform.host.behaviour.before = undefined;
  const { body } = await platform.call("GET", "/api/workspaces/two/egress");
  expect(body).toMatchObject({ layers: { workspace: { allow: ["late.test"] } } });
});

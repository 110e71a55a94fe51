import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { invitePerson, type Person } from "../testing/people.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
let ada: Person;
const repository = "https://git.test/acme/app.git";
const value = "ghp_the-value-that-nobody-reads";

beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
  await platform.call("POST", "/api/organisations", { body: { name: "acme" } });
  ada = await invitePerson(platform, { organisation: "acme", name: "ada" });
  await platform.call("POST", "/api/workspaces", { body: { name: "one", env: { OWN: "given" } } });
}, 60_000);
afterAll(async () => resources[Symbol.asyncDispose]());

const secrets = (method: string, path: string, body?: unknown, call: Person["call"] = platform.call) =>
  call(method, `/api/organisations/${path}`, { body });
const last = (name: string) => {
  const found = platform.host.secrets.filter(({ env }) => name in env);
  return found.at(-1);
};
const created = () => platform.host.created.at(-1);

test("a secret reaches running machines before the answer: a placeholder, and the value for the host alone", async () => {
  const answer = await secrets("PUT", "personal/secrets/TOKEN", { value, hosts: ["API.GitHub.com", "*.corp.test"] });
  expect(answer).toMatchObject({
    status: 200,
    body: { name: "TOKEN", hosts: ["api.github.com", "*.corp.test"], repositories: null, insecure: false },
  });
  // GitHub is among the presets.
  expect(answer.body.notes).toEqual(["workspace one may not reach *.corp.test: dormouse egress allow one *.corp.test"]);
  const told = last("TOKEN");
  expect(told?.secrets).toEqual([
    {
      ...{ name: "TOKEN", value, hosts: ["api.github.com", "*.corp.test"], isInsecure: false },
      placeholder: expect.stringMatching(/^dormouse-secret-[a-z0-9]{40}$/),
    },
  ]);
  expect(told?.env).toMatchObject({ OWN: "given", TOKEN: told?.secrets[0]?.placeholder });
  expect(JSON.stringify(answer.body)).not.toContain(value);
  expect(JSON.stringify((await secrets("GET", "personal/secrets")).body)).not.toContain(value);
});

test("a new value keeps the placeholder that running programs have", async () => {
  const before = last("TOKEN")?.env.TOKEN;
  await secrets("PUT", "personal/secrets/TOKEN", { value: "another", hosts: ["api.github.com"] });
  expect(last("TOKEN")).toMatchObject({ env: { TOKEN: before }, secrets: [{ value: "another", placeholder: before }] });
});

test("machines start with them, wake with them, and a fork has placeholders of its own", async () => {
  await platform.call("POST", "/api/workspaces", { body: { name: "two" } });
  const two = created();
  expect(two).toMatchObject({ secrets: [{ name: "TOKEN", value: "another" }] });
  expect(two?.env).toEqual({ TOKEN: two?.secrets?.[0]?.placeholder });
  const { body } = await platform.call("POST", "/api/workspaces/two/fork", { body: { name: "three" } });
  expect(body.forks).toMatchObject([{ workspace: { name: "three" } }]);
  expect(created()?.env.TOKEN).toMatch(/^dormouse-secret-/);
  expect(created()?.env.TOKEN).not.toBe(two?.env.TOKEN);
});

test("what a workspace was created with goes before secrets of that name", async () => {
  await platform.call("POST", "/api/workspaces", { body: { name: "own", env: { TOKEN: "mine" } } });
  expect(created()).toMatchObject({ env: { TOKEN: "mine" }, secrets: [] });
});

test("with repositories only their workspaces have it", async () => {
  await secrets("PUT", "personal/secrets/APP", { value: "v", hosts: ["x.test"], repositories: [`${repository}`] });
  await platform.call("POST", "/api/workspaces", { body: { name: "plain" } });
  expect(Object.keys(created()?.env ?? {})).toEqual(["TOKEN"]);
  await platform.call("POST", "/api/workspaces", { body: { name: "app", repository, wait: false } });
  await expect.poll(() => created()?.hostname).toBe("app");
  expect(Object.keys(created()?.env ?? {}).sort()).toEqual(["APP", "TOKEN"]);
});

test("an organisation's are its managers' to set, its members have them, and one's own go before them", async () => {
  const set = { value: "of acme", hosts: ["api.acme.test"] };
  expect((await secrets("PUT", "acme/secrets/ACME", set)).status).toBe(200);
  await secrets("PUT", "acme/secrets/BOTH", set);
  for (const [method, body] of [
    ["PUT", { ...set, hosts: ["evil.test"] }],
    ["DELETE", undefined],
  ] as const) {
    expect(await secrets(method, "acme/secrets/ACME", body, ada.call)).toMatchObject({
      status: 403,
      body: { message: expect.stringContaining("change its secrets") },
    });
  }
  await secrets("PUT", "personal/secrets/BOTH", { value: "of ada", hosts: ["ada.test"] }, ada.call);
  await ada.call("POST", "/api/workspaces", { body: { name: "hers", organisation: "acme" } });
  expect(created()?.secrets).toMatchObject([
    { name: "ACME", value: "of acme" },
    { name: "BOTH", value: "of ada", hosts: ["ada.test"] },
  ]);
  await ada.call("POST", "/api/workspaces", { body: { name: "alone" } });
  expect(created()?.secrets).toMatchObject([{ name: "BOTH" }]);
  const seen = await secrets("GET", "acme/secrets", undefined, ada.call);
  expect(seen.body.secrets).toMatchObject([{ name: "ACME", hosts: ["api.acme.test"] }, { name: "BOTH" }]);
  expect(JSON.stringify(seen.body)).not.toContain("of acme");
  expect((await secrets("GET", "nowhere/secrets", undefined, ada.call)).status).toBe(404);
});

test("what goes where is never changed without telling the value", async () => {
  expect(await secrets("PUT", "personal/secrets/TOKEN", { hosts: ["evil.test"] })).toMatchObject({ status: 400 });
});

test("wrong ones are refused with what would be right, without repeating the value", async () => {
  const set = { value, hosts: ["x.test"] };
  for (const [name, body, message] of [
    ["1X", set, /letters, digits and _/],
    ["X", { ...set, hosts: [] }, /needs a host/],
    ["X", { ...set, hosts: ["*"] }, /hosts has "\*": it must be a name/],
    ["X", { ...set, hosts: ["10.0.0.1"] }, /hosts has "10.0.0.1"/],
    ["X", { ...set, value: "two\nlines" }, /line break/],
    ["X", { ...set, value: " x" }, /spaces around it/],
    ["X", { ...set, value: "x".repeat(9000) }, /at most 8192 bytes/],
    ["X", { ...set, repositories: ["nothing"] }, /repository/],
  ] as const) {
    const { status, body: told } = await secrets("PUT", `personal/secrets/${name}`, body);
    expect(status).toBe(400);
    expect(JSON.stringify(told).replaceAll("\\", "")).toMatch(message);
    expect(JSON.stringify(told)).not.toContain("x".repeat(9000));
  }
});

test("it is encrypted in the database, and without its key what needs it is refused", async () => {
  const client = new pg.Client({ connectionString: platform.config.databaseUrl });
  await client.connect();
  resources.add(() => client.end());
  const { rows } = await client.query("SELECT to_jsonb(secrets) AS row FROM secrets");
  expect(rows.length).toBeGreaterThan(3);
  for (const plain of ["another", "of acme", "of ada"])
    for (const text of [plain, Buffer.from(plain).toString("base64"), Buffer.from(plain).toString("hex")])
      expect(JSON.stringify(rows)).not.toContain(text);
  expect((await readFile(join(platform.config.dataDir, "secrets-key"), "utf8")).trim().length).toBeGreaterThan(40);
  await client.query("UPDATE secrets SET sealed = '1.AAAA' WHERE name = 'TOKEN'");
  await platform.call("POST", "/api/workspaces", { body: { name: "later" } });
  expect(created()?.secrets).toMatchObject([{ name: "TOKEN" }]);
  expect(created()?.secrets?.[0]).not.toHaveProperty("value");
});

test("a removed one is gone from machines that run, also when the host was away meanwhile", async () => {
  const told = () => platform.host.secrets.length;
  const before = told();
  expect((await secrets("DELETE", "personal/secrets/TOKEN")).status).toBe(200);
  expect(told()).toBeGreaterThan(before);
  for (const { secrets: left, env } of platform.host.secrets.slice(before)) {
    expect(left.map(({ name }) => name)).not.toContain("TOKEN");
    expect(env.TOKEN ?? "mine").toBe("mine");
  }
  expect((await secrets("DELETE", "personal/secrets/TOKEN")).status).toBe(404);

  await secrets("PUT", "personal/secrets/LATE", { value, hosts: ["x.test"] });
  platform.host.behaviour.before = (call) => {
    if (call === "secrets") throw new Error("away");
  };
  expect((await secrets("DELETE", "personal/secrets/LATE")).status).toBeGreaterThanOrEqual(500);
  platform.host.behaviour.before = undefined;
  expect(JSON.stringify((await secrets("GET", "personal/secrets")).body)).not.toContain("LATE");
});

test("one that is removed while a machine is on its way does not stay in it", async () => {
  await secrets("PUT", "personal/secrets/BRIEF", { value, hosts: ["x.test"] });
  platform.host.behaviour.before = async (call) => {
    if (call !== "create") return;
    platform.host.behaviour.before = undefined;
    await secrets("DELETE", "personal/secrets/BRIEF");
  };
  const { body } = await platform.call("POST", "/api/workspaces", { body: { name: "racing" } });
  expect(created()?.env).toHaveProperty("BRIEF");
  const told = platform.host.secrets.filter(({ workspaceId }) => workspaceId === body.id).at(-1);
  expect(told?.env).not.toHaveProperty("BRIEF");
  expect(told?.secrets.map(({ name }) => name)).not.toContain("BRIEF");
});

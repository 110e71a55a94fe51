import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { callInternal, startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());

test("creates, shows, runs a command in, and deletes a workspace", async () => {
  const { call, host } = platform;
  const created = await call("POST", "/api/workspaces", { body: { name: "first", ttlSeconds: 3600 } });
  expect(created.status, JSON.stringify(created.body)).toBe(201);
  expect(created.body).toMatchObject({
    name: "first",
    state: "running",
    owner: "admin@dormouse.local",
    folder: "/workspace",
    isolation: "emulation",
    resources: { vcpus: 1, memoryMib: 1024, diskGib: 16 },
    url: `http://dormouse.test:7070/w/${created.body.id}`,
  });
  expect(host.machines.get(String(created.body.id))).toMatchObject({ state: "running", generation: 1 });

  const shown = await call("GET", "/api/workspaces/first");
  expect(shown.body).toEqual(created.body);
  const result = await call("POST", "/api/workspaces/first/exec", { body: { command: "cat; exit 3", stdin: "héllo" } });
  expect(result.body).toMatchObject({ exitCode: 3, stdout: "héllo" });
  const logs = await call("GET", "/api/workspaces/first/logs");
  expect(logs.body).toMatchObject({ transitions: [{ state: "creating" }, { state: "running" }] });

  const listed = await call("GET", "/api/workspaces");
  expect(listed.body.workspaces).toHaveLength(1);
  expect((await call("DELETE", "/api/workspaces/first")).status).toBe(200);
  expect((await call("GET", "/api/workspaces/first")).status).toBe(404);
  expect(host.machines.size).toBe(0);
});

test("refuses what it cannot make with one line, and leaves nothing behind", async () => {
  const { call, host } = platform;
  const create = async (body: unknown) => {
    const { status, body: answer } = await call("POST", "/api/workspaces", { body });
    return { status, code: answer.code, message: String(answer.message) };
  };
  expect(await create({ name: "n".repeat(300) })).toEqual({
    status: 400,
    code: "invalid_argument",
    message: "name: a name has at most 63 characters",
  });
  expect(await create({ template: "nope" })).toEqual({
    status: 404,
    code: "not_found",
    message: 'template: there is no template "nope"; the templates are: base',
  });
  expect(await create({ repository: "file:///etc" })).toMatchObject({
    status: 400,
    message: expect.stringContaining("file:// is not taken"),
  });
  expect(await create({ repository: "https://example.test/missing.git" })).toEqual({
    status: 404,
    code: "not_found",
    message: "there is no repository https://example.test/missing.git",
  });
  host.behaviour.vcpus = 0;
  expect(await create({})).toEqual({
    status: 429,
    code: "resource_exhausted",
    message: "this host has 0 of 0 vCPUs free",
  });
  host.behaviour.vcpus = 64;
  expect(host.machines.size).toBe(0);
  expect((await call("GET", "/api/workspaces")).body).toEqual({ workspaces: [] });
});

test("names a workspace after its repository, and never shows or stores a credential", async () => {
  const { call, host } = platform;
  const body = { repository: "https://someone:s3cret@git.example.test/team/My.Project.git", ref: "main" };
  const first = await call("POST", "/api/workspaces", { body });
  const second = await call("POST", "/api/workspaces", { body });
  expect(first.body).toMatchObject({
    name: "my-project",
    folder: "/workspaces/My.Project",
    repository: "https://git.example.test/team/My.Project.git",
    ref: "main",
  });
  expect(second.body.name).toBe("my-project-2");
  expect(host.executed.filter((line) => line.includes("as someone"))).toHaveLength(2);
  expect(JSON.stringify([first.body, second.body])).not.toContain("s3cret");
  const taken = await call("POST", "/api/workspaces", { body: { name: "my-project" } });
  expect(taken).toMatchObject({
    status: 409,
    body: { code: "already_exists", message: "you have a workspace named my-project already; choose another name" },
  });
  for (const name of ["my-project", "my-project-2"]) await call("DELETE", `/api/workspaces/${name}`);
});

test("answers every refusal in one form", async () => {
  const { call } = platform;
  const anonymous = await call("GET", "/api/workspaces", { headers: {} });
  expect(anonymous).toMatchObject({ status: 401, body: { code: "unauthenticated", details: {} } });
  expect(anonymous.headers.get("www-authenticate")).toContain("Bearer");
  expect(await call("GET", "/api/nothing")).toMatchObject({
    status: 404,
    body: { code: "not_found", message: "there is no GET /api/nothing; see /api/reference" },
  });
  expect(await call("POST", "/api/auth/sign-up/email", { body: {} })).toMatchObject({ status: 404 });
  const large = await call("PUT", "/api/me/settings", { body: { settings: "x".repeat(5 * 1024 * 1024) } });
  expect(large).toMatchObject({ status: 429, body: { code: "resource_exhausted" } });
});

test("a one-time link signs one browser in, once; its cookie needs the right origin to write", async () => {
  const { call, control, config } = platform;
  const { url } = await callInternal(control, config, "signInLink", { next: "/w/first" });
  const link = new URL(String(url));
  expect(link.pathname + link.search).toBe("/signin?next=%2Fw%2Ffirst");
  const token = new URLSearchParams(link.hash.slice(1)).get("token");
  const origin = { "x-forwarded-host": "dormouse.test:7070", origin: "http://dormouse.test:7070" };

  const signedIn = await call("POST", "/api/auth/sign-in/link", { body: { token }, headers: origin });
  expect(signedIn.status, JSON.stringify(signedIn.body)).toBe(200);
  const [setCookie = ""] = signedIn.headers.getSetCookie();
  expect(setCookie).toMatch(/HttpOnly/i);
  expect(setCookie).toMatch(/SameSite=Lax/i);
  expect(setCookie).not.toMatch(/Domain=/i);
  const cookie = setCookie.split(";")[0] ?? "";
  expect(await call("POST", "/api/auth/sign-in/link", { body: { token }, headers: origin })).toMatchObject({
    status: 401,
    body: { code: "unauthenticated", message: "this sign-in link was used already or is too old" },
  });

  expect(await call("GET", "/api/me", { headers: { cookie } })).toMatchObject({
    status: 200,
    body: { email: "admin@dormouse.local" },
  });
  const body = { settings: "{}" };
  const foreign = { ...origin, origin: "http://evil.test", cookie };
  expect(await call("PUT", "/api/me/settings", { body, headers: foreign })).toMatchObject({
    status: 403,
    body: { message: "pages of http://evil.test may not act here" },
  });
  expect(await call("PUT", "/api/me/settings", { body, headers: { cookie } })).toMatchObject({ status: 403 });
  expect(await call("PUT", "/api/me/settings", { body, headers: { ...origin, cookie } })).toMatchObject({
    status: 200,
    body: { settings: "{}", keybindings: "" },
  });

  const password = { next: "correct horse battery" };
  expect(await call("POST", "/api/me/password", { body: password, headers: { ...origin, cookie } })).toMatchObject({
    status: 200,
  });
  expect(await call("POST", "/api/me/password", { body: password, headers: { ...origin, cookie } })).toMatchObject({
    status: 403,
    body: { message: "the current password is not right" },
  });
  const email = { email: "admin@dormouse.local", password: password.next };
  expect((await call("POST", "/api/auth/sign-in/email", { body: email, headers: origin })).status).toBe(200);
  const wrong = await call("POST", "/api/auth/sign-in/email", { body: { ...email, password: "no" }, headers: origin });
  expect(wrong).toMatchObject({ status: 401, body: { code: "unauthenticated" } });

  expect((await call("POST", "/api/auth/sign-out", { body: {}, headers: { ...origin, cookie } })).status).toBe(200);
  expect((await call("GET", "/api/me", { headers: { cookie } })).status).toBe(401);
});

test("whoever guesses passwords is slowed down", async () => {
  const { call } = platform;
  const headers = {
    "x-forwarded-host": "dormouse.test:7070",
    "x-forwarded-for": "203.0.113.9",
    origin: "http://dormouse.test:7070",
  };
  const body = { email: "admin@dormouse.local", password: "a wrong guess" };
  const statuses: number[] = [];
  for (let n = 0; n < 11; n++) statuses.push((await call("POST", "/api/auth/sign-in/email", { body, headers })).status);
  expect(statuses).toEqual([...Array(10).fill(401), 429]);
  const refused = await call("POST", "/api/auth/sign-in/email", { body, headers });
  expect(refused.body).toMatchObject({ code: "resource_exhausted" });
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  const elsewhere = { ...headers, "x-forwarded-for": "203.0.113.10" };
  expect((await call("POST", "/api/auth/sign-in/email", { body, headers: elsewhere })).status).toBe(401);
});

test("a body that is no JSON is refused like any other input", async () => {
  const { control, apiKey } = platform;
  const send = async (type: string, body: string) => {
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": type };
    const response = await fetch(`${control.url}/api/workspaces`, { method: "POST", headers, body });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  expect(await send("application/json", "{")).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
  expect(await send("application/json", "[1]")).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
  expect(await send("text/plain", "hello")).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
});

test("a revoked key ends at once", async () => {
  const { call } = platform;
  const created = await call("POST", "/api/api-keys", { body: { name: "robot" } });
  const headers = { authorization: `Bearer ${created.body.key}` };
  expect((await call("GET", "/api/me", { headers })).status).toBe(200);
  const listed = await call("GET", "/api/api-keys");
  expect(JSON.stringify(listed.body)).not.toContain(String(created.body.key));
  expect((await call("DELETE", `/api/api-keys/${created.body.id}`)).status).toBe(200);
  expect(await call("GET", "/api/me", { headers })).toMatchObject({ status: 401 });
});

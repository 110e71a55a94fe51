import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { invitePerson, type Person, pageHeaders } from "../testing/people.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
let admin: Person;
let ada: Person;
let bob: Person;
let stranger: Person;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
  // Of the repositories that are prebuilt.
  platform.host.behaviour.run = (line) => {
    if (line === "git rev-parse HEAD") return `${"a".repeat(40)}\n`;
    return /^git (reset|ls-remote)/.test(line) ? "" : undefined;
  };
  for (const name of ["acme", "elsewhere"]) expect((await owner("POST", "", { name })).status).toBe(201);
  admin = await invitePerson(platform, { organisation: "acme", name: "admin", role: "admin" });
  ada = await invitePerson(platform, { organisation: "acme", name: "ada" });
  bob = await invitePerson(platform, { organisation: "acme", name: "bob" });
  stranger = await invitePerson(platform, { organisation: "elsewhere", name: "stranger" });
}, 60_000);
afterAll(async () => resources[Symbol.asyncDispose]());

/** As the first account, which is the owner of both. */
const owner = (method: string, path: string, body?: unknown) =>
  platform.call(method, `/api/organisations${path}`, { body });
const as = (person: Person, method: string, path: string, body?: unknown) =>
  person.call(method, `/api/organisations${path}`, { body });
const workspaces = (person: Person, method: string, path = "", body?: unknown) =>
  person.call(method, `/api/workspaces${path}`, { body });
const namesOf = ({ body }: { body: Record<string, unknown> }) =>
  (body.workspaces as { name: string }[]).map(({ name }) => name).sort();
const newInvitation = async (body: Record<string, unknown> = {}) => {
  const { body: made } = await owner("POST", "/acme/invitations", body);
  return { id: String(made.id), token: new URL(String(made.url)).hash.slice("#token=".length), made };
};

test("everybody has an organisation of their own, and is in those that they joined", async () => {
  const { body } = await as(ada, "GET", "");
  expect(body.organisations).toMatchObject([
    { name: "personal", isPersonal: true, role: "owner", members: 1 },
    { name: "acme", isPersonal: false, role: "member", members: 4 },
  ]);
  const members = (await as(ada, "GET", "/acme/members")).body.members as { email: string; role: string }[];
  expect(members.map(({ email, role }) => [email, role])).toEqual([
    ["admin@dormouse.local", "owner"],
    ["admin@x.test", "admin"],
    ["ada@x.test", "member"],
    ["bob@x.test", "member"],
  ]);
  for (const [method, path, given] of [
    ["PATCH", "/personal", { name: "mine" }],
    ["DELETE", "/personal", undefined],
    ["POST", "/personal/invitations", {}],
  ] as const) {
    expect(await as(ada, method, path, given)).toMatchObject({
      status: 409,
      body: { code: "failed_precondition", message: expect.stringContaining("your own organisation") },
    });
  }
});

test("a name is one word, is there once, and is not everybody's own", async () => {
  for (const [name, status, message] of [
    ["acme", 409, "there is an organisation named acme already; choose another name"],
    ["Acme", 400, "name: a name has small letters, digits and - between them"],
    ["n".repeat(64), 400, "name: a name has at most 63 characters"],
    ["personal", 400, "name: personal is what everybody's own is called"],
  ] as const) {
    expect(await as(ada, "POST", "", { name })).toMatchObject({ status, body: { message } });
  }
});

test("who is not in an organisation finds none; who is has the rights of their role", async () => {
  for (const [method, path, body] of [
    ["GET", "/acme", undefined],
    ["GET", "/acme/members", undefined],
    ["GET", "/acme/invitations", undefined],
    ["GET", "/acme/usage", undefined],
    ["GET", "/acme/quota", undefined],
    ["PATCH", "/acme/quota", { workspaces: 1 }],
    ["POST", "/acme/invitations", {}],
    ["PATCH", "/acme", { name: "taken-over" }],
    ["PATCH", "/acme/members/stranger@x.test", { role: "owner" }],
    ["DELETE", "/acme/members/ada@x.test", undefined],
    ["DELETE", "/acme", undefined],
  ] as const) {
    expect(await as(stranger, method, path, body), `${method} ${path}`).toMatchObject({
      ...{ status: 404, body: { code: "not_found", message: 'you are in no organisation "acme"' } },
    });
  }
  const denied = (message: string) => ({ status: 403, body: { code: "permission_denied", message } });
  expect(await as(ada, "POST", "/acme/invitations", {})).toMatchObject(
    denied("only owners and admins of organisation acme may invite people; you are a member"),
  );
  expect(await as(ada, "PATCH", "/acme", { name: "mine" })).toMatchObject({ status: 403 });
  expect(await as(ada, "PATCH", "/acme/members/ada@x.test", { role: "admin" })).toMatchObject({ status: 403 });
  expect(await as(ada, "DELETE", "/acme/members/bob@x.test")).toMatchObject({ status: 403 });
  expect(await as(ada, "GET", "/acme/usage")).toMatchObject({ status: 403 });
  expect(await as(admin, "DELETE", "/acme")).toMatchObject(
    denied("only owners of organisation acme may delete it; you are an admin"),
  );
  expect(await as(admin, "PATCH", "/acme/members/ada@x.test", { role: "owner" })).toMatchObject(
    denied("only owners of organisation acme may make or unmake owners; you are an admin"),
  );
  const first = encodeURIComponent("admin@dormouse.local");
  expect(await as(admin, "PATCH", `/acme/members/${first}`, { role: "member" })).toMatchObject({ status: 403 });
  expect(await as(admin, "DELETE", `/acme/members/${first}`)).toMatchObject({ status: 403 });
  expect(await as(admin, "PATCH", "/acme/members/nobody@x.test", { role: "admin" })).toMatchObject({
    ...{ status: 404, body: { message: 'organisation acme has no member "nobody@x.test"' } },
  });
  expect(await as(admin, "PATCH", "/acme/members/bob@x.test", { role: "admin" })).toMatchObject({
    ...{ status: 200, body: { email: "bob@x.test", role: "admin" } },
  });
  expect(await as(bob, "PATCH", "/acme/members/bob@x.test", { role: "member" })).toMatchObject({ status: 200 });
});

test("the last owner stays one, also when two go at once", async () => {
  await owner("POST", "", { name: "pair" });
  const other = await invitePerson(platform, { organisation: "pair", name: "other" });
  const me = encodeURIComponent("admin@dormouse.local");
  const message =
    "admin@dormouse.local is the last owner of organisation pair: make somebody else an owner first, or delete it";
  for (const refused of [
    await owner("DELETE", `/pair/members/${me}`),
    await owner("PATCH", `/pair/members/${me}`, { role: "member" }),
  ]) {
    expect(refused).toMatchObject({ status: 409, body: { code: "failed_precondition", message } });
  }
  expect((await owner("PATCH", "/pair/members/other@x.test", { role: "owner" })).status).toBe(200);
  const both = await Promise.all([
    owner("DELETE", `/pair/members/${me}`),
    as(other, "DELETE", "/pair/members/other@x.test"),
  ]);
  expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
});

test("an invitation lets one person in, once, and nobody after it was revoked, is too old, or its maker has gone", async () => {
  const headers = { ...pageHeaders, "x-forwarded-for": "203.0.113.77" };
  const show = (token: string) => platform.call("POST", "/api/auth/invitation", { body: { token }, headers });
  const spent = {
    status: 404,
    body: { code: "not_found", message: "this invitation was used, revoked or is too old; ask for another one" },
  };
  const { token, made } = await newInvitation({ role: "admin" });
  expect(new URL(String(made.url)).pathname).toBe("/join");
  expect(token).toMatch(/^dmi_/);
  expect(JSON.stringify((await owner("GET", "/acme/invitations")).body)).not.toContain(token);
  expect(await show(token)).toMatchObject({
    ...{ status: 200, body: { organisation: "acme", role: "admin", inviter: "admin@dormouse.local" } },
  });
  const joins = await Promise.all([as(stranger, "POST", "/join", { token }), as(stranger, "POST", "/join", { token })]);
  expect(joins.map(({ status }) => status).sort()).toEqual([200, 404]);
  expect(await show(token)).toMatchObject(spent);
  // Who is in already does not use it up.
  const again = await newInvitation();
  expect(await as(stranger, "POST", "/join", { token: again.token })).toMatchObject({
    ...{ status: 409, body: { message: "you are in this organisation already" } },
  });
  expect((await show(again.token)).status).toBe(200);
  expect((await owner("DELETE", `/acme/invitations/${again.id}`)).status).toBe(200);
  expect(await show(again.token)).toMatchObject(spent);
  expect(await owner("DELETE", `/acme/invitations/${again.id}`)).toMatchObject({ status: 404 });

  const theirs = (await as(stranger, "POST", "/acme/invitations", {})).body;
  const theirToken = new URL(String(theirs.url)).hash.slice("#token=".length);
  expect((await show(theirToken)).status).toBe(200);
  expect((await as(stranger, "DELETE", "/acme/members/stranger@x.test")).status).toBe(200);
  expect(await show(theirToken)).toMatchObject(spent);
  expect(await as(stranger, "GET", "/acme")).toMatchObject({ status: 404 });

  for (const [body, message] of [
    [{ role: "owner" }, "role"],
    [{ expiresInSeconds: 1 }, "expiresInSeconds: an invitation lasts at least 60 seconds"],
    [{ expiresInSeconds: 10 ** 9 }, "expiresInSeconds: an invitation lasts at most"],
  ] as const) {
    expect(await owner("POST", "/acme/invitations", body)).toMatchObject({
      ...{ status: 400, body: { message: expect.stringContaining(message) } },
    });
  }
});

test("who has no account makes one with an invitation, and with nothing else", async () => {
  const headers = { ...pageHeaders, "x-forwarded-for": "203.0.113.78" };
  const signUp = (body: Record<string, unknown>) =>
    platform.call("POST", "/api/auth/sign-up/invitation", { body, headers });
  const { token } = await newInvitation();
  const person = { token, name: "Eve", email: "eve@x.test", password: "a long enough password" };
  expect(await signUp({ ...person, token: "dmi_wrong" })).toMatchObject({ status: 404 });
  expect(await signUp({ ...person, password: "short" })).toMatchObject({
    ...{ status: 400, body: { message: expect.stringContaining("a password has at least 10 characters") } },
  });
  expect(await signUp({ ...person, email: "eve" })).toMatchObject({ status: 400 });
  expect(await signUp({ ...person, email: "Ada@X.test" })).toMatchObject({
    status: 409,
    body: { message: "there is an account for ada@x.test: sign in with it, then open the invitation again" },
  });
  const joined = await signUp(person);
  expect(joined, JSON.stringify(joined.body)).toMatchObject({ status: 200, body: { user: { email: "eve@x.test" } } });
  const cookie = joined.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  expect((await platform.call("GET", "/api/me", { headers: { cookie } })).body).toMatchObject({ name: "Eve" });
  expect(await signUp({ ...person, email: "mallory@x.test" })).toMatchObject({ status: 404 });
  const email = { email: person.email, password: person.password };
  expect((await platform.call("POST", "/api/auth/sign-in/email", { body: email, headers })).status).toBe(200);
});

test("a workspace is of one organisation; its managers see it, put it to sleep and delete it, and do not open it", async () => {
  const made = await workspaces(ada, "POST", "", { name: "shared", organisation: "acme" });
  expect(made).toMatchObject({ status: 201, body: { organisation: "acme", owner: "ada@x.test" } });
  expect(await workspaces(ada, "POST", "", { name: "mine" })).toMatchObject({ body: { organisation: "personal" } });
  expect(await workspaces(ada, "POST", "", { organisation: "elsewhere" })).toMatchObject({
    ...{ status: 404, body: { message: 'organisation: you are in no organisation "elsewhere"' } },
  });
  const inAcme = "?organisation=acme";
  expect(namesOf(await workspaces(ada, "GET"))).toEqual(["mine", "shared"]);
  expect(namesOf(await workspaces(ada, "GET", inAcme))).toEqual(["shared"]);
  expect(namesOf(await workspaces(admin, "GET"))).toEqual([]);
  expect(namesOf(await workspaces(admin, "GET", inAcme))).toEqual(["shared"]);
  expect(namesOf(await workspaces(bob, "GET", inAcme))).toEqual([]);
  expect(await workspaces(stranger, "GET", inAcme)).toMatchObject({ status: 404 });

  expect(await workspaces(admin, "GET", "/shared")).toMatchObject({ status: 200, body: { owner: "ada@x.test" } });
  const id = String(made.body.id);
  for (const [method, path, body] of [
    ["POST", `/${id}/exec`, { command: "id" }],
    ["POST", `/${id}/wake`, undefined],
    ["POST", `/${id}/fork`, {}],
    ["POST", `/${id}/snapshots`, {}],
    ["GET", `/${id}/snapshots`, undefined],
    ["GET", `/${id}/ports`, undefined],
    ["GET", `/${id}/egress`, undefined],
    ["GET", `/${id}/logs`, undefined],
    ["PATCH", `/${id}`, { name: "taken" }],
  ] as const) {
    expect(await workspaces(admin, method, path, body), path).toMatchObject({ status: 404 });
  }
  for (const person of [bob, stranger]) {
    for (const [method, path] of [
      ["GET", `/${id}`],
      ["POST", `/${id}/hibernate`],
      ["DELETE", `/${id}`],
    ] as const) {
      expect(await workspaces(person, method, path)).toMatchObject({ status: 404 });
    }
  }
  expect(await workspaces(admin, "POST", "/shared/hibernate")).toMatchObject({ body: { state: "hibernated" } });
  expect(await workspaces(admin, "GET", "/mine")).toMatchObject({ status: 404 });
  // Two people's of one name need an id, unless one is one's own.
  await workspaces(bob, "POST", "", { name: "shared", organisation: "acme" });
  expect(await workspaces(admin, "DELETE", "/shared")).toMatchObject({
    ...{ status: 400, body: { message: expect.stringContaining("have one each; give its id") } },
  });
  expect(await owner("DELETE", "/acme")).toMatchObject({
    ...{ status: 409, body: { message: "it still has 2 workspaces; delete them first" } },
  });
  expect((await workspaces(bob, "DELETE", "/shared")).status).toBe(200);
  expect((await workspaces(admin, "DELETE", `/${id}`)).status).toBe(200);
  expect((await workspaces(ada, "DELETE", "/mine")).status).toBe(200);
});

test("a fork stays in its organisation, and templates and prebuilds are an organisation's own", async () => {
  await workspaces(ada, "POST", "", { name: "base-of", organisation: "acme" });
  const forked = await workspaces(ada, "POST", "/base-of/fork", { name: "forked" });
  expect(forked.body.forks).toMatchObject([{ workspace: { name: "forked", organisation: "acme" } }]);
  expect(platform.host.created.at(-1)?.organisationId).toMatch(/^org-/);

  const builder = await workspaces(ada, "POST", "", { name: "builder", organisation: "acme", prebuild: true });
  const baked = await ada.call("POST", "/api/templates", { body: { name: "tools", workspace: builder.body.id } });
  expect(baked.status, JSON.stringify(baked.body)).toBe(201);
  const templates = async (person: Person) =>
    ((await person.call("GET", "/api/templates")).body.templates as { name: string }[]).map(({ name }) => name);
  expect(await templates(bob)).toEqual(["base", "tools"]);
  expect(await templates(stranger)).toEqual(["base"]);
  expect((await bob.call("GET", "/api/templates/tools")).status).toBe(200);
  expect((await stranger.call("GET", "/api/templates/tools")).status).toBe(404);
  const unknown = {
    ...{ status: 404, body: { message: 'template: there is no template "tools"; the templates are: base' } },
  };
  expect(await workspaces(bob, "POST", "", { template: "tools" })).toMatchObject(unknown);
  expect(await workspaces(stranger, "POST", "", { template: "tools" })).toMatchObject(unknown);
  expect(await workspaces(bob, "POST", "", { name: "from", template: "tools", organisation: "acme" })).toMatchObject({
    ...{ status: 201, body: { template: "tools" } },
  });
  const other = await workspaces(stranger, "POST", "", { name: "other", prebuild: true });
  expect(
    await stranger.call("POST", "/api/templates", { body: { name: "tools", workspace: other.body.id } }),
  ).toMatchObject({
    ...{
      status: 409,
      body: { message: "name is tools: another organisation has a template of that name; choose another name" },
    },
  });
  expect(await stranger.call("DELETE", "/api/templates/tools")).toMatchObject({ status: 404 });
  expect(await bob.call("DELETE", "/api/templates/tools")).toMatchObject({
    ...{ status: 403, body: { message: "template tools is ada@x.test's" } },
  });
  expect((await admin.call("DELETE", "/api/templates/tools")).status).toBe(200);

  const repository = "https://git.example.test/team/app.git";
  const prebuild = (body: Record<string, unknown>) =>
    ada.call("POST", "/api/prebuilds", { body: { repository, ...body } });
  expect(await prebuild({ organisation: "elsewhere" })).toMatchObject({ status: 404 });
  const [shared, own] = [await prebuild({ organisation: "acme" }), await prebuild({})];
  expect([shared.body.organisation, own.body.organisation]).toEqual(["acme", "personal"]);
  expect(shared.body.id).not.toBe(own.body.id);
  await vi.waitFor(
    async () => {
      const { body } = await ada.call("GET", "/api/prebuilds");
      expect(body.prebuilds).toMatchObject([{ state: "ready" }, { state: "ready" }]);
    },
    { timeout: 30_000, interval: 200 },
  );
  const begun = (await workspaces(ada, "POST", "", { name: "begun", repository, organisation: "acme" })).body;
  const source = platform.host.created.at(-1)?.snapshot?.workspaceId;
  const alone = (await workspaces(ada, "POST", "", { name: "alone", repository })).body;
  expect(source).toBeDefined();
  expect(platform.host.created.at(-1)?.snapshot?.workspaceId).not.toBe(source);
  for (const { id } of [begun, alone]) await workspaces(ada, "DELETE", `/${id}`);
  for (const { id } of [shared.body, own.body]) await ada.call("DELETE", `/api/prebuilds/${id}`);
  for (const name of ["base-of", "forked"]) await workspaces(ada, "DELETE", `/${name}`);
  await workspaces(bob, "DELETE", "/from");
  await workspaces(stranger, "DELETE", "/other");
});

test("an organisation's quota counts everybody's, and the administrator alone sets it", async () => {
  const { status, body } = await owner("PATCH", "/acme/quota", { workspaces: 2 });
  expect({ status, body }).toMatchObject({
    body: { workspaces: { used: 0, limit: 2 }, snapshotBytes: { limit: null } },
  });
  expect(await as(admin, "PATCH", "/acme/quota", { workspaces: 9 })).toMatchObject({
    ...{ status: 403, body: { message: "the quota of an organisation is for the administrator to set" } },
  });
  const answers = await Promise.all(
    [ada, bob, ada, bob].map((person, n) => workspaces(person, "POST", "", { name: `q${n}`, organisation: "acme" })),
  );
  expect(answers.map((answer) => answer.status).sort()).toEqual([201, 201, 429, 429]);
  expect(answers.find((answer) => answer.status === 429)?.body).toMatchObject({
    code: "resource_exhausted",
    message: "the quota of organisation acme is used up: it has 2 of 2 workspaces; delete one that is not needed",
  });
  // Elsewhere there is room.
  expect((await workspaces(ada, "POST", "", { name: "own" })).status).toBe(201);
  expect((await ada.call("GET", "/api/me/quota")).body.organisations).toMatchObject([
    { name: "personal", workspaces: { used: 1, limit: null } },
    { name: "acme", workspaces: { used: 2, limit: 2 } },
  ]);
  // The administrator sets that of one they are not in, by its id.
  const personal = ((await as(ada, "GET", "")).body.organisations as { id: string }[])[0]?.id;
  expect(await owner("PATCH", `/${personal}/quota`, { snapshotBytes: 1000 })).toMatchObject({
    body: { snapshotBytes: { limit: 1000 } },
  });
  const usage = await as(admin, "GET", "/acme/usage");
  const people = usage.body.people as { email: string; workspaces: number }[];
  expect(people.reduce((sum, person) => sum + person.workspaces, 0)).toBe(2);
  await owner("PATCH", "/acme/quota", { workspaces: null });
  for (const person of [ada, bob]) {
    for (const name of namesOf(await workspaces(person, "GET"))) await workspaces(person, "DELETE", `/${name}`);
  }
});

test("what leaves an organisation's workspaces is within its cap, at once, whatever layers below say", async () => {
  const layer = (person: Person, body: Record<string, unknown>) =>
    person.call("PUT", "/api/egress", { body: { scope: "organisation", name: "acme", layer: body } });
  const made = await workspaces(ada, "POST", "", { name: "capped", organisation: "acme" });
  const free = await workspaces(ada, "POST", "", { name: "free" });
  const last = (id: unknown) => platform.host.egress.findLast(({ workspaceId }) => workspaceId === id)?.policy;
  expect(await layer(ada, { cap: ["*"] })).toMatchObject({
    status: 403,
    body: {
      message: "only owners and admins of organisation acme may change what may leave its workspaces; you are a member",
    },
  });
  expect(await layer(stranger, {})).toMatchObject({ status: 404 });
  expect(await layer(admin, { allow: ["a b"] })).toMatchObject({ status: 400 });
  expect((await layer(admin, { cap: ["*.acme.test"], deny: ["bad.acme.test"] })).status).toBe(200);
  expect(last(made.body.id)).toMatchObject({ caps: [["*.acme.test"]], deny: ["bad.acme.test"] });
  expect(last(free.body.id)).toBeUndefined();
  await workspaces(ada, "PUT", "/capped/egress", { mode: "open", allow: ["evil.test", "bad.acme.test"] });
  expect(last(made.body.id)).toMatchObject({ mode: "restricted", allow: ["*.acme.test"], deny: ["bad.acme.test"] });
  const decide = (host: string) => workspaces(ada, "POST", "/capped/egress/test", { host, port: 443 });
  await workspaces(ada, "POST", "/capped/hibernate");
  expect((await decide("evil.test")).body).toMatchObject({ isAllowed: false });
  expect((await decide("bad.acme.test")).body).toMatchObject({ isAllowed: false });
  expect((await decide("good.acme.test")).body).toMatchObject({ isAllowed: true });
  expect((await workspaces(ada, "GET", "/capped/egress")).body.layers).toMatchObject({
    organisation: { cap: ["*.acme.test"] },
  });
  expect((await ada.call("GET", "/api/egress?scope=organisation&name=acme")).body).toMatchObject({
    cap: ["*.acme.test"],
  });
  expect(await stranger.call("GET", "/api/egress?scope=organisation&name=acme")).toMatchObject({ status: 404 });
  expect(await ada.call("GET", "/api/egress?scope=organisation")).toMatchObject({
    ...{ status: 400, body: { message: "name: egress of an organisation needs its name" } },
  });
  await layer(admin, {});
  for (const name of ["capped", "free"]) await workspaces(ada, "DELETE", `/${name}`);
});

test("an API key for one organisation acts there without naming it, finds nothing else, and is not the person", async () => {
  await workspaces(ada, "POST", "", { name: "own" });
  const made = await ada.call("POST", "/api/api-keys", { body: { name: "robot", organisation: "acme" } });
  expect(made).toMatchObject({ status: 201, body: { organisation: "acme" } });
  expect((await ada.call("POST", "/api/api-keys", { body: { name: "robot", organisation: "elsewhere" } })).status).toBe(
    404,
  );
  const headers = { authorization: `Bearer ${made.body.key}` };
  const robot = (method: string, path: string, body?: unknown) =>
    platform.call(method, `/api${path}`, { body, headers });
  expect(await robot("POST", "/workspaces", { name: "made" })).toMatchObject({ body: { organisation: "acme" } });
  expect(namesOf(await robot("GET", "/workspaces"))).toEqual(["made"]);
  expect((await robot("GET", "/organisations")).body.organisations).toMatchObject([{ name: "acme" }]);
  for (const [method, path, body] of [
    ["GET", "/workspaces/own", undefined],
    ["DELETE", "/workspaces/own", undefined],
    ["GET", "/workspaces/own/egress", undefined],
    ["POST", "/workspaces", { organisation: "personal" }],
    ["GET", "/workspaces?organisation=personal", undefined],
    ["GET", "/organisations/personal", undefined],
  ] as const) {
    expect(await robot(method, path, body), path).toMatchObject({ status: 404, body: { code: "not_found" } });
  }
  for (const [method, path, body] of [
    ["POST", "/api-keys", { name: "wider" }],
    ["GET", "/api-keys", undefined],
    ["POST", "/organisations", { name: "mine" }],
    ["POST", "/organisations/join", { token: "dmi_x" }],
    ["POST", "/me/password", { next: "a long enough password" }],
    ["PUT", "/me/setup", { shell: "zsh" }],
  ] as const) {
    expect(await robot(method, path, body), path).toMatchObject({ status: 403, body: { code: "permission_denied" } });
  }
  // The administrator's is not the administrator either.
  const key = await platform.call("POST", "/api/api-keys", { body: { name: "robot", organisation: "acme" } });
  const authorization = `Bearer ${key.body.key}`;
  const set = { body: { workspaces: 1 }, headers: { authorization } };
  expect(await platform.call("PATCH", "/api/organisations/acme/quota", set)).toMatchObject({ status: 403 });
  const layer = { body: { scope: "installation", layer: {} }, headers: { authorization } };
  expect(await platform.call("PUT", "/api/egress", layer)).toMatchObject({ status: 403 });
  for (const name of ["own", "made"]) await workspaces(ada, "DELETE", `/${name}`);
});

test("who is removed opens nothing there any more, and what they had sleeps", async () => {
  const { body } = await workspaces(bob, "POST", "", { name: "left", organisation: "acme" });
  const repository = "https://git.example.test/team/left.git";
  await bob.call("POST", "/api/prebuilds", { body: { repository, organisation: "acme" } });
  expect((await as(admin, "DELETE", "/acme/members/bob@x.test")).status).toBe(200);
  expect(await workspaces(bob, "POST", `/${body.id}/exec`, { command: "id" })).toMatchObject({ status: 404 });
  expect(namesOf(await workspaces(bob, "GET"))).toEqual([]);
  expect((await bob.call("GET", "/api/prebuilds")).body.prebuilds).toEqual([]);
  await vi.waitFor(
    async () => expect(await workspaces(admin, "GET", `/${body.id}`)).toMatchObject({ body: { state: "hibernated" } }),
    { timeout: 10_000, interval: 100 },
  );
  expect((await workspaces(admin, "DELETE", `/${body.id}`)).status).toBe(200);
});

test("an organisation is deleted once it is empty, and renamed at any time", async () => {
  await owner("POST", "", { name: "short-lived" });
  expect(await owner("PATCH", "/short-lived", { name: "renamed" })).toMatchObject({ body: { name: "renamed" } });
  expect(await owner("GET", "/short-lived")).toMatchObject({ status: 404 });
  await platform.call("PUT", "/api/egress", {
    body: { scope: "organisation", name: "renamed", layer: { deny: ["a.test"] } },
  });
  expect((await owner("DELETE", "/renamed")).status).toBe(200);
  expect(await owner("GET", "/renamed")).toMatchObject({ status: 404 });
});

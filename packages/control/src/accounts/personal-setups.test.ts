import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());

const nothing = { dotfiles: null, shell: null, gitName: null, gitEmail: null };
const mine = {
  dotfiles: {
    repository: "https://git.example/ada/dotfiles.git",
    installCommand: "./set-up --quiet",
    targetPath: null,
  },
  ...{ shell: "zsh", gitName: "Ada Lovelace", gitEmail: "ada@example.com" },
};
const call = (method: string, path: string, body?: unknown) => platform.call(method, path, { body });
const create = async (body: object) => (await call("POST", "/api/workspaces", body)).body;
const save = (body: object) => call("PUT", "/api/me/setup", body);
/** What was run of a set-up: who, and with which words. */
const brought = () =>
  platform.host.executed.flatMap((line) => {
    const [, user, args] = /^(\w+) in [^:]+: \/bin\/sh -c set -e[\s\S]* sh (.*)$/.exec(line) ?? [];
    return user === undefined ? [] : [`${user}: ${args}`];
  });
const all = [
  "dev: all Ada Lovelace ada@example.com",
  "root: dev zsh",
  "dev: ~/dotfiles https://git.example/ada/dotfiles.git ./set-up --quiet",
  "dev: missing Ada Lovelace ada@example.com",
];

beforeEach(async () => {
  const { host } = platform;
  host.files.set("/etc/environment", "PATH=/bin\n");
  for (const path of host.files.keys()) if (path.startsWith("/workspaces/")) host.files.delete(path);
  expect(await save(nothing)).toMatchObject({ status: 200, body: nothing });
  host.executed.length = 0;
});

test("it is kept per person, changed in parts, and taken away by null", async () => {
  expect((await call("GET", "/api/me/setup")).body).toEqual(nothing);
  expect((await save(mine)).body).toEqual(mine);
  expect((await save({ shell: null, gitName: "Ada" })).body).toEqual({ ...mine, shell: null, gitName: "Ada" });
  const scp = { repository: "git@git.example:ada/dotfiles.git" };
  expect((await save({ dotfiles: scp })).body.dotfiles).toEqual({ ...scp, installCommand: null, targetPath: null });
});

test.each([
  [{ shell: "zsh; rm -rf /" }, /shell.*must be a path or a name such as "zsh"/],
  [{ gitName: "Ada\n[core]" }, /gitName.*must have no line breaks and no < or >/],
  [{ dotfiles: { repository: "/etc" } }, /repository/],
  [
    { dotfiles: { repository: "https://ada:secret@git.example/d.git" } },
    /^dotfiles\.repository is https:\/\/git\.example\/d\.git with a password: it would be kept and shown/,
  ],
])("%j is refused", async (input, message) => {
  const { status, body } = await save(input);
  expect([status, body.code]).toEqual([400, "invalid_argument"]);
  expect(body.message).toMatch(message);
  expect(JSON.stringify(body)).not.toContain("secret");
});

test("each new workspace has it, once, when it runs already; one without set-up has nothing run", async () => {
  const plain = await create({});
  expect(plain.state).toBe("running");
  await save(mine);
  const workspace = await create({});
  await vi.waitFor(() => expect(brought()).toEqual(all));
  await call("POST", `/api/workspaces/${workspace.id}/hibernate`);
  await call("POST", `/api/workspaces/${workspace.id}/wake`);
  await call("POST", `/api/workspaces/${plain.id}/hibernate`);
  await call("POST", `/api/workspaces/${plain.id}/wake`);
  expect(brought()).toEqual(all);
  expect((await call("GET", `/api/workspaces/${workspace.id}/logs`)).body.setup).toContain("=== who commits");
});

test("a person's own dotfiles come in place of the repository's, also when its steps fail", async () => {
  const { host } = platform;
  const dotfiles = { repository: "https://git.example/team/dotfiles.git" };
  const definition = { userEnvProbe: "none", customizations: { dormouse: { dotfiles } }, postCreateCommand: "exit 3" };
  host.files.set("/workspaces/app/.devcontainer.json", JSON.stringify(definition));
  await save({ gitName: "Ada", dotfiles: mine.dotfiles });
  await create({ repository: "https://git.example/app.git" });
  await vi.waitFor(() => expect(brought().at(-1)).toMatch(/missing Ada/));
  expect(brought().filter((line) => line.includes("dotfiles.git"))).toEqual([all[2]]);

  await save({ dotfiles: null });
  host.files.set("/workspaces/app/.devcontainer.json", JSON.stringify({ ...definition, postCreateCommand: "true" }));
  host.executed.length = 0;
  await create({ repository: "https://git.example/app.git" });
  // To the last line: what is still to come would be counted by the test that follows.
  await vi.waitFor(() => expect(brought().at(-1)).toMatch(/missing Ada/));
  expect(brought()).toContain("dev: ~/dotfiles https://git.example/team/dotfiles.git ");
});

test("a rebuild makes another machine, and brings it there", async () => {
  const { host } = platform;
  await save({ gitName: "Ada" });
  host.files.set("/workspaces/again/.devcontainer.json", "{}");
  const workspace = await create({ repository: "https://git.example/again.git" });
  await vi.waitFor(() => expect(brought()).toHaveLength(1));
  await call("POST", `/api/workspaces/${workspace.id}/rebuild`, {});
  await vi.waitFor(() => expect(brought()).toHaveLength(2));
});

test("what becomes a template has none of it: neither a prebuild, nor what somebody works in, nor a fork of that", async () => {
  await save(mine);
  const prebuild = await create({ name: "prebuild", prebuild: true });
  const { body: first } = await call("POST", "/api/templates", { name: "impersonal", workspace: prebuild.id });
  expect(first).toMatchObject({ name: "impersonal", version: 1 });
  expect(brought()).toEqual([]);

  const workspace = await create({ name: "personal" });
  await vi.waitFor(() => expect(brought()).toEqual(all));
  const { body } = await call("POST", `/api/workspaces/${workspace.id}/fork`, { name: "forked" });
  expect(body.forks).toMatchObject([{ workspace: { name: "forked" } }]);
  for (const name of ["personal", "forked"]) {
    const refused = await call("POST", "/api/templates", { name: "leaky", workspace: name });
    expect(refused).toMatchObject({ status: 409, body: { code: "failed_precondition" } });
    expect(refused.body.message).toMatch(
      /has your personal set-up in it .*: bake from one that was created as a prebuild/,
    );
  }
  // A fork has what its parent has, and nothing is run again.
  expect(brought()).toEqual(all);
  platform.host.executed.length = 0;
  await create({ template: "impersonal" });
  await vi.waitFor(() => expect(brought()).toEqual(all));
});

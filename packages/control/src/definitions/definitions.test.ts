import { disposer } from "@dormouse/base";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { openDatabase } from "../database/open.ts";
import { connectHost } from "../host/client.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform, testLog } from "../testing/platform.ts";
import { featureDigest } from "../testing/simulated-host.ts";
import { buildStore } from "./build-store.ts";
import { removeUnusedBuilds } from "./unused-builds.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  const devcontainer = { featureNamespace: "registry.example/features" };
  platform = await startTestPlatform(resources, await startTestPostgres(resources), { devcontainer });
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(() => {
  const { host } = platform;
  host.executed.length = 0;
  host.created.length = 0;
  for (const path of host.files.keys()) if (path.startsWith("/workspaces/")) host.files.delete(path);
  host.files.set("/etc/environment", "PATH=/base/bin:/bin\n");
});

const call = (method: string, path: string, body?: unknown) => platform.call(method, path, { body });

/** Opens a repository with this definition; every name is one of a repository of its own. */
async function open(name: string, definition: unknown, more: Record<string, unknown> = {}) {
  platform.host.files.set(`/workspaces/${name}/.devcontainer.json`, JSON.stringify(definition));
  const repository = `https://git.example/${name}.git`;
  const { status, body } = await call("POST", "/api/workspaces", { repository, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body;
}

const digest = `sha256:${"0".repeat(64)}`;

test("an image makes another machine, in which the folder is carried and the commands are run as its user", async () => {
  const { host } = platform;
  const workspace = await open(
    "app",
    {
      image: "registry.example/app:1",
      remoteUser: "dev",
      containerEnv: { MODE: "${localEnv:MODE:none}", PLACE: "${containerWorkspaceFolder}" },
      remoteEnv: { MODE: null, TOOLS: "${containerEnv:PLACE}/tools" },
      userEnvProbe: "none",
      onCreateCommand: "make ${containerWorkspaceFolderBasename}",
      postCreateCommand: ["echo", "later"],
      forwardPorts: [3000],
    },
    { env: { MODE: "mine" } },
  );
  expect(workspace).toMatchObject({
    state: "running",
    folder: "/workspaces/app",
    devcontainer: {
      path: ".devcontainer.json",
      problem: null,
      ports: [{ host: "localhost", port: 3000, label: null }],
    },
  });
  const id = String(workspace.id);
  expect(host.created).toMatchObject([
    { workspaceId: id, generation: 1, template: "base", env: { MODE: "mine" } },
    {
      ...{ workspaceId: id, generation: 2, template: `image-of-registry.example/app@${digest}`, user: "dev" },
      env: { PLACE: "/workspaces/app", TOOLS: "/workspaces/app/tools", MODE: "mine" },
    },
  ]);
  await vi.waitFor(() => expect(host.executed.at(-1)).toBe("dev in /workspaces/app: echo later"));
  const ran = host.executed.map((line) => line.replace(/busybox sh -c .*tar (-\w+) .*/, "tar $1"));
  expect(ran).toEqual([
    "git clone https://git.example/app.git /workspaces/app as nobody",
    "root in /: /run/dormouse/tools/bin/tar -cf",
    "root in /: /run/dormouse/tools/bin/tar -xf",
    "dev in /workspaces/app: /bin/sh -c make app",
    "dev in /workspaces/app: echo later",
  ]);
});

test("the next workspace of the repository starts there at once, and is told nothing of the other's environment", async () => {
  const { host } = platform;
  const definition = { image: "registry.example/again:1", containerEnv: { TOKEN: "${localEnv:TOKEN}" } };
  await open("again", definition, { env: { TOKEN: "of-the-first" } });
  host.created.length = 0;
  await open("again", definition);
  expect(host.created).toMatchObject([{ generation: 1, template: `image-of-registry.example/again@${digest}` }]);
  expect(JSON.stringify(host.created)).not.toContain("of-the-first");
  const [room = "", clone] = host.executed.slice(-2);
  expect(room).toMatch(/^root in \/: .*busybox chown .* \/workspaces\/again 0:0$/);
  expect(clone).toMatch(/^git clone/);
  // What the file says by now counts.
  host.created.length = 0;
  expect((await open("again", {})).devcontainer).toMatchObject({ path: ".devcontainer.json" });
  expect(host.created.map(({ template }) => template)).toEqual([`image-of-registry.example/again@${digest}`, "base"]);
});

test("ports are told with all that the file says of them, for whoever's workspace it is", async () => {
  const attributes = { label: "web of ${localEnv:TEAM:nobody}", protocol: "https", onAutoForward: "openPreview" };
  const definition = {
    forwardPorts: [3000, "db:5432"],
    appPort: ["8080:80", "${localEnv:ADMIN:9000}"],
    portsAttributes: { "3000": attributes, "80-90": { requireLocalPort: true }, "db:5432": { label: "database" } },
    otherPortsAttributes: { onAutoForward: "ignore", elevateIfNeeded: true },
    customizations: {
      dormouse: { ports: { "3000": { visibility: "public" }, "4000": { visibility: "organisation" } } },
    },
  };
  const web = { ...attributes, label: "web of nobody" };
  const expected = {
    ports: [
      { host: "localhost", port: 3000, ...web, visibility: "public" },
      { host: "db", port: 5432, label: "database" },
      { host: "localhost", port: 80, label: null, requireLocalPort: true },
      { host: "localhost", port: 9000, label: null, onAutoForward: "ignore", elevateIfNeeded: true },
    ],
    portsAttributes: { ...definition.portsAttributes, "3000": web },
    otherPortsAttributes: { onAutoForward: "ignore", elevateIfNeeded: true },
    portsVisibility: { "3000": "public", "4000": "organisation" },
  };
  expect((await open("ports", definition)).devcontainer).toMatchObject(expected);
  const other = await open("ports", definition, { env: { TEAM: "us", ADMIN: "9001" } });
  expect(other.devcontainer).toMatchObject({
    ports: [{ label: "web of us" }, { port: 5432 }, { port: 80 }, { port: 9001 }],
  });
});

test("a start that is gone from the host is forgotten", async () => {
  const { host } = platform;
  const definition = { features: { "./tool": {} } };
  host.files.set("/workspaces/gone/.devcontainer.json", JSON.stringify(definition));
  host.files.set("/workspaces/gone/tool/devcontainer-feature.json", JSON.stringify({ id: "tool", version: "1.0.0" }));
  host.files.set("/workspaces/gone/tool/install.sh", "#!/bin/sh\n");
  const first = await open("gone", definition);
  expect(first.devcontainer).toMatchObject({ problem: null });
  const builder = host.created.find(({ workspaceId }) => workspaceId.startsWith("bld"))?.workspaceId ?? "";
  // The builder's machine is gone, what was built in it is not.
  expect([host.machines.has(builder), host.snapshots.get(builder)?.length]).toEqual([false, 1]);
  expect(host.created.at(-1)).toMatchObject({ snapshot: { workspaceId: builder }, user: "dev" });
  expect(host.executed).toContain("root in /tmp/dormouse-feature: /bin/sh -c exec ./install.sh");

  host.created.length = 0;
  await open("gone", definition);
  expect(host.created).toMatchObject([{ snapshot: { workspaceId: builder } }]);
  host.snapshots.delete(builder);
  host.created.length = 0;
  const { devcontainer } = await open("gone", definition);
  expect(devcontainer).toMatchObject({ problem: null });
  expect(host.created.map(({ template, snapshot }) => [template, snapshot?.workspaceId === builder])).toEqual([
    ["base", false],
    ["base", false],
    ["base", false],
  ]);
});

test.each([
  ["unknown-image", { image: "registry.example/missing:1" }, "there is no image registry.example/missing:1"],
  ["unknown-feature", { features: { tool: {} } }, "there is no feature tool"],
  [
    "unknown-user",
    { image: "registry.example/a", remoteUser: "ada" },
    'remoteUser is "ada": the image has no such user; it has root, dev',
  ],
  [
    "no-compose",
    { dockerComposeFile: "compose.yml", service: "app", workspaceFolder: "/w" },
    "compose.yml:1:1: is not there",
  ],
  ["failing", { onCreateCommand: "exit 3" }, "onCreateCommand ended with code 3: said so"],
])("%s: the workspace runs on its template and says why", async (name, definition, message) => {
  const workspace = await open(name, definition);
  expect(workspace).toMatchObject({ state: "running", reason: message, devcontainer: { problem: { message } } });
  expect(platform.host.created.at(-1)).toMatchObject({ template: "base" });
  const { body } = await call("GET", `/api/workspaces/${workspace.id}/logs`);
  expect(body.setup).toContain(message);
});

test("of a Compose file one service is the workspace, and the images of the others come into its machine", async () => {
  const { host } = platform;
  host.files.set(
    "/workspaces/composed/compose.yml",
    `services:
  app: {image: registry.example/app, user: dev, environment: {A: "1"}, volumes: [".:/src"], depends_on: [db]}
  db: {image: "registry.example/db:\${TAG:-1}", volumes: [data:/data, ./conf:/conf], ports: ["5432:5432"], mem_limit: 1g}
`,
  );
  const definition = {
    dockerComposeFile: "compose.yml",
    service: "app",
    userEnvProbe: "none",
    forwardPorts: ["db:80"],
  };
  const workspace = await open("composed", definition);
  expect(workspace).toMatchObject({
    ...{ state: "running", folder: "/src" },
    devcontainer: {
      problem: null,
      ports: [{ host: "db", port: 80, label: null }],
      notes: [
        "compose.yml:3: services.db.mem_limit has no effect: services share the processors and the memory of their machine",
        // Nothing runs here that could be podman.
        expect.stringMatching(/^failed: service db: /),
      ],
    },
  });
  const template = `image-of-registry.example/app@${digest}`;
  const builder = host.created.at(-1)?.snapshot?.workspaceId;
  expect(host.created.slice(1)).toMatchObject([
    { workspaceId: builder, template },
    { workspaceId: workspace.id, template, user: "dev", env: { A: "1" } },
  ]);
  const commands = host.executed.join("\n");
  expect(commands).toContain('podman pull --quiet "oci-archive:/host$1"');
  expect(commands).toMatch(
    / sh db [0-9a-f]{64} --network=services --ip=10\.89\.0\.2 --hostname=db --add-host=app:10\.89\.0\.1 --add-host=db:10\.89\.0\.2 --publish=5432:5432\/tcp --publish=127\.0\.0\.1:80:80\/tcp --volume=data:\/data --volume=\/host\/src\/conf:\/conf localhost\/dormouse\/service:[0-9a-f]{32}$/m,
  );
  expect(commands).toContain("sh 10.89.0.2\tdb");
  const log = `/api/workspaces/${workspace.id}/services`;
  expect((await call("GET", `${log}/cache/log`)).body).toMatchObject({
    code: "not_found",
    message: 'service is "cache": workspace composed has no such service; it has db',
  });
});

test("a lock file holds features to what it says", async () => {
  const { host } = platform;
  host.features.set("locked", { id: "locked", version: "1.2.3" });
  const integrity = `sha256:${"2".repeat(64)}`;
  const lock = (resolved: string) => ({ features: { [resolved]: { version: "1.2.3", resolved, integrity } } });
  const text = JSON.stringify(lock("registry.example/features/locked:1"));
  host.files.set("/workspaces/held/.devcontainer-lock.json", text);
  const features = { "registry.example/features/locked:1": {} };
  expect(await open("held", { features })).toMatchObject({ reason: null });
  expect(host.fetched.at(-1)).toMatchObject({ id: "locked", digest: integrity });
  // An address gives whatever lies there now.
  const url = "https://files.example/locked.tgz";
  host.features.set(url, { id: "locked", version: "1.2.3" });
  host.files.set("/workspaces/moved/.devcontainer-lock.json", JSON.stringify(lock(url)));
  expect((await open("moved", { features: { [url]: {} } })).reason).toMatch(
    /the lock file holds it to sha256:2+ \(1\.2\.3\)$/,
  );
});

test("a lock file is written, kept, brought up to date and upgraded", async () => {
  const { host } = platform;
  const [a, b] = ["registry.example/features/lock-a", "registry.example/features/lock-b"];
  for (const [id, more] of [
    ["lock-a", { dependsOn: { [`${b}:1`]: {} } }],
    ["lock-b", {}],
  ] as const) {
    host.features.set(id, { id, version: "1.0.0", ...more });
  }
  const workspace = await open("locking", { features: { [`${a}:1`]: {} } });
  const path = "/workspaces/locking/.devcontainer-lock.json";
  const lock = async (body: object = {}) => await call("POST", `/api/workspaces/${workspace.id}/lock-features`, body);
  const [digestA, digestB] = [featureDigest("lock-a"), featureDigest("lock-b")];
  const version = (integrity: string) => ({ version: "1.0.0", integrity });

  const added = [
    { feature: `${b}:1`, from: null, to: version(digestB) },
    { feature: `${a}:1`, from: null, to: version(digestA) },
  ];
  expect((await lock({ write: false })).body).toEqual({ path: ".devcontainer-lock.json", features: 2, changes: added });
  expect(host.files.has(path)).toBe(false);
  expect((await lock()).body.changes).toEqual(added);
  const text = host.files.get(path) ?? "";
  expect(JSON.parse(text)).toEqual({
    features: {
      [`${a}:1`]: { ...version(digestA), resolved: `${a}@${digestA}`, dependsOn: [`${b}:1`] },
      [`${b}:1`]: { ...version(digestB), resolved: `${b}@${digestB}` },
    },
  });
  expect((await lock()).body.changes).toEqual([]);

  // What it holds stays, whatever the tag means by now; what is not used goes.
  const older = `sha256:${"3".repeat(64)}`;
  host.files.set(path, text.replaceAll(digestA, older).replace(`"${b}:1": {`, `"${b}:0": {`));
  expect((await lock()).body.changes).toEqual([
    { feature: `${b}:1`, from: null, to: version(digestB) },
    { feature: `${b}:0`, from: version(digestB), to: null },
  ]);
  expect(JSON.parse(host.files.get(path) ?? "").features[`${a}:1`].integrity).toBe(older);
  expect((await lock({ upgrade: true })).body.changes).toEqual([
    { feature: `${a}:1`, from: version(older), to: version(digestA) },
  ]);
  expect(host.files.get(path)).toBe(text);
});

test("a lock file that says nothing of a feature is noted, an empty one is none, and without a definition there is none", async () => {
  const { host } = platform;
  host.features.set("noted", { id: "noted", version: "1.0.0" });
  const definition = { features: { "registry.example/features/noted:1": {} } };
  host.files.set("/workspaces/unlocked/.devcontainer-lock.json", '{ "features": {} }');
  expect((await open("unlocked", definition)).devcontainer).toMatchObject({
    problem: null,
    notes: ["features: registry.example/features/noted:1 is not in the lock file; dormouse devcontainer lock adds it"],
  });
  host.files.set("/workspaces/empty-lock/.devcontainer-lock.json", "");
  expect((await open("empty-lock", definition)).devcontainer).toMatchObject({ problem: null, notes: [] });
  const { body: bare } = await call("POST", "/api/workspaces", {});
  expect((await call("POST", `/api/workspaces/${bare.id}/lock-features`, {})).body).toMatchObject({
    code: "not_found",
    message: "there is no devcontainer.json in /workspace: nothing to lock",
  });
});

test("what is recommended and missing, and what a machine does not do, is noted", async () => {
  const definition = {
    secrets: { NPM_TOKEN: { description: "Reads packages.", documentationUrl: "https://docs.example/npm" }, GIVEN: {} },
    initializeCommand: "echo host",
    mounts: ["source=/home,target=/host-home,type=bind"],
  };
  const { devcontainer } = await open("noted", definition, { env: { GIVEN: "1" } });
  expect(devcontainer).toMatchObject({
    problem: null,
    notes: [
      "mounts: nothing is mounted at /host-home: a machine has no folder of its host's",
      "initializeCommand: not run: it is meant for the host, which runs no command of a repository",
      "secrets: NPM_TOKEN (Reads packages; https://docs.example/npm) is recommended and not set: create the workspace with -e NPM_TOKEN=…",
    ],
  });
});

test("a repository without a definition gets the tools that it asks for, in the background", async () => {
  const { host } = platform;
  host.files.set("/workspaces/tools/.nvmrc", "22\n");
  const { body } = await call("POST", "/api/workspaces", { repository: "https://git.example/tools.git" });
  expect(body).toMatchObject({ state: "running", devcontainer: null });
  await vi.waitFor(() => expect(host.executed.at(-1)).toBe("dev in /workspaces/tools: mise install --yes"));
  host.executed.length = 0;
  await call("POST", "/api/workspaces", { repository: "https://git.example/tools.git", devcontainer: false });
  expect(host.executed).toEqual(["git clone https://git.example/tools.git /workspaces/tools as nobody"]);
});

test("of several definitions one is chosen, or none", async () => {
  const { host } = platform;
  for (const name of ["one", "two"]) {
    const text = JSON.stringify({ image: `registry.example/${name}` });
    host.files.set(`/workspaces/several/.devcontainer/${name}/devcontainer.json`, text);
  }
  const create = async (more: object) => {
    host.created.length = 0;
    return (await call("POST", "/api/workspaces", { repository: "https://git.example/several.git", ...more })).body;
  };
  expect((await create({})).reason).toMatch(/one configuration must be chosen by its name: there are one, two/);
  await create({ devcontainer: "two" });
  expect(host.created.at(-1)?.template).toBe(`image-of-registry.example/two@${digest}`);
  expect((await create({ devcontainer: false })).devcontainer).toBeNull();
  expect(host.created.map(({ template }) => template)).toEqual(["base"]);
});

test("what is to become a template runs only what a prebuild runs, also of a folder that is brought", async () => {
  const { host } = platform;
  const { body } = await call("POST", "/api/workspaces", { folder: "/workspaces/brought", prebuild: true });
  expect(body).toMatchObject({ state: "running", devcontainer: null });
  const definition = { userEnvProbe: "none", onCreateCommand: "all", postCreateCommand: "mine" };
  host.files.set("/workspaces/brought/.devcontainer.json", JSON.stringify(definition));
  await call("POST", `/api/workspaces/${body.id}/rebuild`, { ifNeeded: true });
  expect(host.executed).toEqual(["dev in /workspaces/brought: /bin/sh -c all"]);
  await call("POST", "/api/templates", { name: "brought", workspace: body.id });
  expect(host.executed).toHaveLength(1);
  await call("POST", "/api/workspaces", { template: "brought" });
  await vi.waitFor(() => expect(host.executed.at(-1)).toBe("dev in /workspaces/brought: /bin/sh -c mine"));
  expect(host.executed).toHaveLength(2);
});

test("a rebuild makes the machine anew and keeps the timeline", async () => {
  const { host } = platform;
  const workspace = await open("rebuilt", { image: "registry.example/rebuilt:1" });
  const id = String(workspace.id);
  await call("POST", `/api/workspaces/${id}/snapshots`, { name: "before" });
  host.created.length = 0;
  const kept = await call("POST", `/api/workspaces/${id}/rebuild`, { ifNeeded: true });
  expect([kept.status, host.created]).toEqual([200, []]);
  const anew = await call("POST", `/api/workspaces/${id}/rebuild`, {});
  expect(anew.body).toMatchObject({ state: "running", devcontainer: { problem: null } });
  expect(host.created).toMatchObject([{ workspaceId: id, generation: 3 }]);
  expect((await call("GET", `/api/workspaces/${id}/snapshots`)).body.snapshots).toMatchObject([{ name: "before" }]);
});

test("what a tool is to have run is run each time one attaches, image and features first, after all that is still run", async () => {
  const { host } = platform;
  host.features.set("attached", { id: "attached", version: "1.0.0", postAttachCommand: "of the feature" });
  const workspace = await open("attached", {
    features: { "registry.example/features/attached:1": {} },
    userEnvProbe: "none",
    postStartCommand: "start",
    postAttachCommand: { web: "of the file" },
  });
  const attach = async () => (await call("POST", `/api/workspaces/${workspace.id}/attach`)).body;
  const ran = () => host.executed.flatMap((line) => /sh -c (start|of .*)$/.exec(line)?.[1] ?? []);
  expect(await attach()).toEqual({ runs: true });
  await vi.waitFor(() => expect(ran()).toEqual(["start", "of the feature", "of the file"]));
  const attached = async () => {
    const { devcontainer } = (await call("GET", `/api/workspaces/${workspace.id}`)).body;
    return (devcontainer as { attached: { at: string; problem: unknown } | null }).attached;
  };
  await vi.waitFor(async () => expect(await attached()).toMatchObject({ problem: null }));
  await attach();
  await vi.waitFor(() => expect(ran().slice(3)).toEqual(["of the feature", "of the file"]));
});

test("a command for tools that fails is told, keeps nobody out and is tried again by the next", async () => {
  const { host } = platform;
  const definition = { userEnvProbe: "none", postAttachCommand: "exit 7" };
  const workspace = await open("not-attached", definition);
  const path = `/api/workspaces/${workspace.id}`;
  for (const time of [1, 2]) {
    await call("POST", `${path}/attach`);
    await vi.waitFor(() => expect(host.executed.filter((line) => line.endsWith("exit 7"))).toHaveLength(time));
  }
  await vi.waitFor(async () =>
    expect((await call("GET", path)).body).toMatchObject({
      ...{ state: "running", reason: null },
      devcontainer: {
        problem: null,
        attached: { problem: { message: "postAttachCommand ended with code 7: said so", file: ".devcontainer.json" } },
      },
    }),
  );
  expect((await call("GET", `${path}/logs`)).body.setup).toContain("=== postAttachCommand");
});

test("nothing is run for a tool where the definition has nothing, or is not applied", async () => {
  const attach = async ({ id }: Record<string, unknown>) => (await call("POST", `/api/workspaces/${id}/attach`)).body;
  expect(await attach(await open("plain-attach", {}))).toEqual({ runs: false });
  const { host } = platform;
  const broken = await open("broken-attach", { onCreateCommand: "exit 3", postAttachCommand: "attach" });
  await attach(broken);
  await attach(broken);
  expect(host.executed.filter((line) => line.endsWith("sh -c attach"))).toEqual([]);
  expect((await call("POST", "/api/workspaces/nothing/attach")).status).toBe(404);
});

test("what was built and not started from for long goes with its snapshots, unless a workspace or a repository begins with it", async () => {
  const { host, config } = platform;
  const files = (name: string) => {
    host.files.set(
      `/workspaces/${name}/tool/devcontainer-feature.json`,
      JSON.stringify({ id: name, version: "1.0.0" }),
    );
    host.files.set(`/workspaces/${name}/tool/install.sh`, `#!/bin/sh\n# ${name}\n`);
  };
  const builderOf = async (name: string) => {
    files(name);
    const workspace = await open(name, { features: { "./tool": {} } });
    const builder = host.created.findLast(({ workspaceId }) => workspaceId.startsWith("bld"))?.workspaceId ?? "";
    return { id: String(workspace.id), builder };
  };
  const kept = await builderOf("kept-build");
  const unused = await builderOf("unused-build");
  await call("DELETE", `/api/workspaces/${unused.id}`);

  await using database = await openDatabase({ url: config.databaseUrl, log: testLog });
  const { db } = database;
  const hostConnection = connectHost(config.host);
  const signal = new AbortController().signal;
  const store = buildStore(db);
  const options = { store, host: hostConnection, unusedForMs: 24 * 3_600_000, log: testLog, signal };
  await store.saveImage("a Dockerfile", digest);
  expect(await removeUnusedBuilds(options)).toBe(0);

  await db.execute(sql`UPDATE builds SET used_at = now() - interval '2 days'`);
  await db.execute(sql`UPDATE image_builds SET used_at = now() - interval '2 days'`);
  // The repository's next workspace would start there.
  const snapshots = (builder: string) => host.snapshots.get(builder)?.length ?? 0;
  await removeUnusedBuilds(options);
  expect([snapshots(kept.builder), snapshots(unused.builder)]).toEqual([1, 1]);
  expect(await store.findImage("a Dockerfile")).toBeUndefined();

  await db.execute(sql`UPDATE recent_definitions SET resolved_at = now() - interval '2 days'`);
  await removeUnusedBuilds(options);
  expect([snapshots(kept.builder), snapshots(unused.builder)]).toEqual([1, 0]);
  // It is built again for whoever wants it.
  const again = await builderOf("unused-build");
  expect(again.builder).not.toBe(unused.builder);
  await hostConnection[Symbol.asyncDispose]();
});

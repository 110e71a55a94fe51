// What each property of a definition does to a workspace, one by one.

import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(() => {
  const { host } = platform;
  for (const list of [host.executed, host.environments, host.created]) list.length = 0;
  for (const path of host.files.keys()) if (path.startsWith("/workspaces/")) host.files.delete(path);
  host.files.set("/etc/environment", "PATH=/base/bin:/bin\n");
});

/** Opens a repository of its own with this definition, which is to have no problem. */
async function open(name: string, definition: object, more: object = {}) {
  const text = JSON.stringify({ userEnvProbe: "none", ...definition });
  platform.host.files.set(`/workspaces/${name}/.devcontainer.json`, text);
  const body = { repository: `https://git.example/${name}.git`, ...more };
  const { status, body: workspace } = await platform.call("POST", "/api/workspaces", { body });
  expect([status, workspace.reason]).toEqual([201, null]);
  return workspace;
}

const notesOf = ({ devcontainer }: Record<string, unknown>) => (devcontainer as { notes: string[] }).notes;
const ran = (line: string) => platform.host.executed.some((each) => each.endsWith(line));

test("workspaceFolder: the repository lies there, and all of it is opened", async () => {
  expect(await open("elsewhere", { workspaceFolder: "/srv/app" })).toMatchObject({ folder: "/srv/app" });
  const inside = await open("inside", { workspaceFolder: "${localWorkspaceFolder}/web" });
  expect(inside.folder).toBe("/workspaces/inside");
  expect(notesOf(inside)).toEqual([
    "workspaceFolder: all of the repository is opened, /workspaces/inside, not /workspaces/inside/web",
  ]);
});

test("workspaceMount: its target is where the repository lies", async () => {
  const workspaceMount = "source=${localWorkspaceFolder},target=/code,type=bind";
  const workspace = await open("mounted", { workspaceMount, workspaceFolder: "/code/web" });
  expect(workspace.folder).toBe("/code");
  expect(notesOf(workspace)).toEqual(["workspaceFolder: all of the repository is opened, /code, not /code/web"]);
});

test("mounts: volumes are folders of the workspace's user, binds are noted", async () => {
  const mounts = ["source=cache,target=/var/cache/app,type=volume", "source=/tmp,target=/host,type=bind"];
  const workspace = await open("volumes", { mounts });
  expect(notesOf(workspace)).toEqual(["mounts: nothing is mounted at /host: a machine has no folder of its host's"]);
  expect(platform.host.executed).toContain("mkdir /var/cache/app");
  expect(platform.host.executed).toContain("chown 1000:1000 /var/cache/app");

  // They are its own, whatever its machine is made of next.
  platform.host.executed.length = 0;
  const path = `/api/workspaces/${workspace.id}`;
  expect((await platform.call("POST", `${path}/rebuild`, { body: {} })).status).toBe(200);
  const carried = () => platform.host.executed.filter((line) => line.includes("dormouse-volumes.tar"));
  expect(carried()).toEqual([
    expect.stringMatching(/volume export.* sh \/var\/tmp\/dormouse-volumes.tar no \/var\/cache\/app$/s),
    expect.stringMatching(/volume import.* sh \/var\/tmp\/dormouse-volumes.tar$/s),
  ]);
  // Also when they are mounted no more.
  platform.host.files.set("/workspaces/volumes/.devcontainer.json", JSON.stringify({ userEnvProbe: "none" }));
  for (let round = 0; round < 2; round++) await platform.call("POST", `${path}/rebuild`, { body: {} });
  expect(carried()).toHaveLength(6);
});

test("hostRequirements: the machine is as large as the file asks for, or as it was created", async () => {
  const hostRequirements = { cpus: 4, memory: "6gb", storage: "32gb", gpu: "optional" };
  const workspace = await open("large", { hostRequirements });
  expect(workspace.resources).toEqual({ vcpus: 4, memoryMib: 6144, diskGib: 32 });
  const larger = await open("larger", { hostRequirements: { cpus: 2 } }, { resources: { vcpus: 3 } });
  expect(larger.resources).toMatchObject({ vcpus: 3 });
});

test("hostRequirements: what a host has not is a problem that names it", async () => {
  platform.host.files.set("/workspaces/gpu/.devcontainer.json", JSON.stringify({ hostRequirements: { gpu: true } }));
  const body = { repository: "https://git.example/gpu.git" };
  const { body: workspace } = await platform.call("POST", "/api/workspaces", { body });
  expect(workspace).toMatchObject({ state: "running", reason: expect.stringMatching(/^hostRequirements: gpu/) });
});

test("waitFor: what stands up to it has run when the workspace runs, the rest comes later", async () => {
  const { host } = platform;
  const hooks = { onCreateCommand: "one", updateContentCommand: "two", postCreateCommand: "three" };
  // Were it waited for, its failure would be the reason of the answer.
  await open("waited", { ...hooks, postStartCommand: "exit 4", waitFor: "postCreateCommand" });
  const names = () => host.executed.flatMap((line) => /sh -c (one|two|three|exit 4)$/.exec(line)?.[1] ?? []);
  expect(names().slice(0, 3)).toEqual(["one", "two", "three"]);
  await vi.waitFor(() => expect(names()).toEqual(["one", "two", "three", "exit 4"]));
});

test("userEnvProbe: the user's own shell is asked, unless it is none", async () => {
  const hook = { onCreateCommand: "build" };
  await open("asked", { ...hook, userEnvProbe: "loginShell" });
  expect(platform.host.executed.some((line) => line.startsWith("/bin/sh -lc printf"))).toBe(true);
  platform.host.executed.length = 0;
  await open("unasked", { ...hook, userEnvProbe: "none" });
  expect(platform.host.executed.some((line) => line.startsWith("/bin/sh -"))).toBe(false);
});

test("containerUser and remoteUser: who installs knows both, who works is the second", async () => {
  const { host } = platform;
  host.files.set("/workspaces/users/tool/devcontainer-feature.json", JSON.stringify({ id: "tool", version: "1.0.0" }));
  host.files.set("/workspaces/users/tool/install.sh", "#!/bin/sh\n");
  const users = { containerUser: "root", remoteUser: "dev" };
  await open("users", { ...users, features: { "./tool": {} }, onCreateCommand: "build" });
  expect(host.environments[0]).toMatchObject({
    ...{ _CONTAINER_USER: "root", _CONTAINER_USER_HOME: "/root", _REMOTE_USER: "dev", _REMOTE_USER_HOME: "/home/dev" },
  });
  expect(ran("dev in /workspaces/users: /bin/sh -c build")).toBe(true);
});

test("features: their options, environment, entrypoint and commands", async () => {
  const { host } = platform;
  const metadata = {
    ...{ id: "tool", version: "1.0.0", options: { level: { type: "string", default: "1" } } },
    ...{ containerEnv: { TOOL_HOME: "/opt/tool" }, entrypoint: "/opt/tool/start", onCreateCommand: "tool init" },
  };
  host.files.set("/workspaces/tooled/tool/devcontainer-feature.json", JSON.stringify(metadata));
  host.files.set("/workspaces/tooled/tool/install.sh", "#!/bin/sh\n");
  const { id } = await open("tooled", { features: { "./tool": { level: "7" } }, onCreateCommand: "build" });
  expect(host.environments[0]).toMatchObject({ LEVEL: "7" });
  expect(host.created.at(-1)?.env).toMatchObject({ TOOL_HOME: "/opt/tool" });
  const own = host.executed.filter((line) => /start true|tool init|build$/.test(line));
  expect(own).toEqual([
    "root in /: /bin/sh -c exec /opt/tool/start true",
    "dev in /workspaces/tooled: /bin/sh -c tool init",
    "dev in /workspaces/tooled: /bin/sh -c build",
  ]);

  // A machine that boots anew has nothing of what ran in it; one that goes on has all of it.
  const started = () => host.executed.filter((line) => line.endsWith("exec /opt/tool/start true")).length;
  const path = `/api/workspaces/${id}`;
  await platform.call("POST", `${path}/hibernate`, { body: {} });
  await platform.call("POST", `${path}/wake`, { body: {} });
  expect(started()).toBe(1);
  host.snapshots.delete(String(id));
  host.change(String(id), { state: "dead", reason: "QEMU ended with signal SIGKILL", pid: null, lastSnapshot: null });
  const state = async () => (await platform.call("GET", path)).body.state;
  await vi.waitFor(async () => expect(await state()).toBe("failed"), { timeout: 10_000 });
  expect((await platform.call("POST", `${path}/wake`, { body: {} })).body).toMatchObject({ state: "running" });
  await vi.waitFor(() => expect(started()).toBe(2));
});

test("runArgs, initializeCommand: noted, and nothing is run of them", async () => {
  const workspace = await open("host-side", { runArgs: ["--network", "host"], initializeCommand: "echo host" });
  expect(notesOf(workspace)).toEqual([
    "runArgs: not used (--network host): a machine is started by no container tool",
    "initializeCommand: not run: it is meant for the host, which runs no command of a repository",
  ]);
  expect(platform.host.executed.join("\n")).not.toContain("echo host");
});

test("what only a container needs changes nothing: a machine is one of its own", async () => {
  const plain = await open("plain", {});
  const [machine] = platform.host.created;
  platform.host.created.length = 0;
  const rights = { init: true, privileged: true, capAdd: ["SYS_PTRACE"], securityOpt: ["seccomp=unconfined"] };
  const life = { overrideCommand: false, shutdownAction: "none", updateRemoteUserUID: false, name: "${localEnv:NAME}" };
  const workspace = await open("rights", { ...rights, ...life });
  expect(workspace.devcontainer).toEqual(plain.devcontainer);
  expect(platform.host.created).toMatchObject([{ template: machine?.template, resources: machine?.resources }]);
});

test("customizations.vscode: settings and extensions are told with the workspace, variables replaced", async () => {
  const settings = {
    "python.defaultInterpreterPath": "${containerWorkspaceFolder}/.venv/bin/python",
    "editor.tabSize": 3,
  };
  const workspace = await open("editor", {
    customizations: { vscode: { settings, extensions: ["ms-python.python"] } },
  });
  expect(workspace.devcontainer).toMatchObject({
    vscode: {
      settings: { "python.defaultInterpreterPath": "/workspaces/editor/.venv/bin/python", "editor.tabSize": 3 },
      extensions: ["ms-python.python"],
    },
  });
});

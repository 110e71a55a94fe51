import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const launcher = fileURLToPath(new URL("../../bin/dormouse.mjs", import.meta.url));

let repository: string;
beforeEach(async () => {
  repository = await mkdtemp(join(tmpdir(), "dormouse-devcontainer-"));
});
afterEach(() => rm(repository, { recursive: true, force: true }));

async function write(path: string, content: unknown): Promise<void> {
  await mkdir(dirname(join(repository, path)), { recursive: true });
  await writeFile(join(repository, path), typeof content === "string" ? content : JSON.stringify(content));
}

/** Runs the command in the repository, without a platform. */
function check(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, HOME: repository, NO_COLOR: "1" };
    const child = spawn(process.execPath, [launcher, "devcontainer", "check", ...args], { cwd: repository, env });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

const definition = `// The whole team's.
{
  "build": { "dockerfile": "Dockerfile", "context": ".." },
  "features": { "registry.example/team/node:1": "22", "./tools": { "fast": true } },
  "initializeCommand": "make host",
  "postCreateCommand": { "packages": "npm ci", "database": ["make", "db"] },
  "postStartCommand": "npm \\u001b[31mstart",
  "forwardPorts": [3000, "db:5432"],
  "portsAttributes": { "3000": { "label": "web" } },
  "hostRequirements": { "cpus": 4, "memory": "8gb", "gpu": "optional" },
  "remoteUser": "dev",
  "secrets": { "TOKEN": { "description": "for the tests", "documentationUrl": "https://docs.example/token" } },
  "customizations": { "dormouse": {
    "prebuild": { "trigger": ["push", { "cron": "0 3 * * 1" }], "ttl": "14d" },
    "egress": { "allow": ["registry.example"] },
    "ports": { "3000": { "visibility": "organisation" } },
  } },
}
`;
const tools = {
  id: "tools",
  version: "1.0.0",
  options: { fast: { type: "boolean", default: false } },
  dependsOn: { "registry.example/team/zsh:1": {} },
  onCreateCommand: "tools init",
};

test("sums up what a valid definition asks for", async () => {
  await write(".devcontainer/devcontainer.json", definition);
  await write(".devcontainer/tools/devcontainer-feature.json", tools);
  const { code, stdout, stderr } = await check();
  expect(stderr).toBe("");
  expect(stdout).toBe(`.devcontainer/devcontainer.json is valid
  starts from  an image built from Dockerfile in ..
  features     registry.example/team/node:1 (version=22)
               registry.example/team/zsh:1
               ./tools (fast=true)
               (in this order unless dependencies, which would have to be fetched, say otherwise)
  lifecycle    initializeCommand (host-side: never run): make host
               onCreateCommand (on prebuild, create; waited for): tools init
               postCreateCommand (on create): npm ci & make db
               postStartCommand (on start): npm \\u001b[31mstart
  ports        3000 (web)
               db:5432
  needs        4 processors, 8 GiB of memory, a graphics processor if there is one
  user         dev
  secrets      TOKEN: for the tests (https://docs.example/token)
  dormouse     prebuild on push, cron 0 3 * * 1, kept 14d
               asks for egress to registry.example
               port 3000 is organisation
`);
  expect(code).toBe(0);
  const json = JSON.parse((await check(repository, "--json")).stdout);
  expect(json).toMatchObject([
    { problems: [], summary: { source: { kind: "dockerfile" }, users: { remoteUser: "dev" } } },
  ]);
});

test("looks into Compose files, too", async () => {
  const compose = { dockerComposeFile: "../compose.yml", service: "app", workspaceFolder: "/w" };
  await write(".devcontainer/devcontainer.json", compose);
  await write("compose.yml", "services:\n  app: {image: a, depends_on: [db]}\n  db: {build: db, gpus: all}\n");
  expect(
    (await check()).stdout,
  ).toBe(`compose.yml:3:19: warning: services.db.gpus: has no effect: a machine has no devices of its host's
.devcontainer/devcontainer.json is valid, with 1 warning
  starts from  the service app of ../compose.yml
  services     db (built in db)
  user         the image's
`);
  await write("compose.yml", "services:\n  ap: {image: a}\n");
  const { code, stdout } = await check();
  expect(code).toBe(1);
  expect(stdout).toBe('.devcontainer/devcontainer.json:1:39: error: service: service is "app": the services are: ap\n');
});

test("prints every problem with its place and fails on errors", async () => {
  await write(".devcontainer/api/devcontainer.json", '{\n  "image": "x",\n  "forwardPort": [1]\n}');
  await write(".devcontainer/web/devcontainer.json", '{\n  "image": 3,\n}');
  const all = await check();
  expect(
    all.stdout,
  ).toBe(`.devcontainer/api/devcontainer.json:3:3: warning: forwardPort: is no property of devcontainer.json; did you mean forwardPorts?
.devcontainer/api/devcontainer.json is valid, with 1 warning
  starts from  the image x
  user         the image's
.devcontainer/web/devcontainer.json:2:12: error: image: is 3: must be a string
`);
  expect(all.code).toBe(1);
  expect((await check("--config", "api")).code).toBe(0);
  const json = await check(".devcontainer/web/devcontainer.json", "--json");
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject([
    {
      path: ".devcontainer/web/devcontainer.json",
      problems: [{ line: 2, column: 12, property: "image", severity: "error" }],
    },
  ]);
});

test("short names need a namespace; a local feature must be there and right", async () => {
  await write(".devcontainer.json", { image: "x", features: { git: {} } });
  const short = await check();
  expect(short.code).toBe(0);
  expect(short.stdout).toContain("warning: features.git: is a short form");
  const known = await check("--namespace", "registry.example/team/features");
  expect(known.stdout).toContain("features     registry.example/team/features/git:latest\n");
  await write(".devcontainer.json", { image: "x", features: { "./.devcontainer/tools": {} } });
  expect(await check()).toEqual({
    code: 1,
    stdout:
      '.devcontainer.json:1:26: error: features["./.devcontainer/tools"]: there is no .devcontainer/tools/devcontainer-feature.json\n',
    stderr: "",
  });
  await write(".devcontainer/tools/devcontainer-feature.json", { id: "tools" });
  const wrong = await check();
  expect(wrong.code).toBe(1);
  expect(wrong.stdout).toBe(
    ".devcontainer/tools/devcontainer-feature.json:1:1: error: version: is missing: must be a string\n",
  );
});

test("what only shows when it is put together is a problem, too", async () => {
  await write(".devcontainer/devcontainer.json", '{\n  "image": "x",\n  "features": { "./a": {} }\n}');
  await write(".devcontainer/a/devcontainer-feature.json", { id: "a", version: "1.0.0", dependsOn: { "./b": {} } });
  await write(".devcontainer/b/devcontainer-feature.json", { id: "b", version: "1.0.0", dependsOn: { "./a": {} } });
  const { code, stdout } = await check();
  expect(stdout).toBe(
    ".devcontainer/devcontainer.json:3:3: error: features: features depend on each other in a circle: ./a → ./b → ./a; one of their dependsOn or installsAfter must go\n",
  );
  expect(code).toBe(1);
});

test("says what is not there", async () => {
  expect(await check()).toEqual({
    code: 1,
    stdout: "",
    stderr:
      "dormouse: there is no devcontainer.json: looked for .devcontainer/devcontainer.json, .devcontainer.json and .devcontainer/FOLDER/devcontainer.json\n",
  });
  expect(await check("nowhere")).toMatchObject({ code: 1, stderr: "dormouse: there is no nowhere\n" });
});

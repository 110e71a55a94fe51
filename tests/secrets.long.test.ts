import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { Secrets, Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type EgressWorld, pretendEgressWorld } from "../packages/network/src/testing/pretend-egress.ts";
import { type SecretServer, startSecretServer } from "../packages/network/src/testing/pretend-secret-server.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { search } from "./support/search-marks.ts";

// Secrets of real machines, with all of the internet pretended: what reaches which server, and what is in the machine.
const owned = disposer();
const value = "FORBIDDEN-a-value-that-no-machine-has";
let world: EgressWorld;
let server: SecretServer;
let platform: TestPlatform;
let workspace: Workspace;

beforeAll(async () => {
  world = await pretendEgressWorld("dmsecm");
  owned.add(() => world[Symbol.asyncDispose]());
  server = await startSecretServer(world.internet.namespace);
  owned.add(() => server[Symbol.asyncDispose]());
  const { address: resolver } = world.internet;
  platform = await startTestPlatform({ egressMode: "default", resolver, extraRootsFile: server.rootFile });
  owned.add(async () => platform[Symbol.asyncDispose]());
  workspace = await Workspace.create({ connection: platform.connection, name: "one" });
}, 600_000);
afterAll(() => owned[Symbol.asyncDispose]());
beforeEach(() => {
  server.seen.length = 0;
});

const command = async (args: string[], input?: string) => {
  const { exitCode, stdout, stderr } = await dormouse(platform, args, input === undefined ? {} : { input });
  expect(exitCode, stderr).toBe(0);
  return stdout;
};
const sh = async (line: string, options: { user?: string } = {}) => {
  const { stdout, stderr, exitCode } = await workspace.exec(["sh", "-c", line], { timeoutMs: 120_000, ...options });
  return { text: stdout.trim(), problem: stderr.trim(), exitCode };
};
const seen = () => server.seen.map(({ url, headers }) => [url, headers.authorization]);
const bearer = '-H "Authorization: Bearer $TOKEN"';

test("a secret is set while a workspace runs, and its programs find a placeholder", { timeout: 120_000 }, async () => {
  const startedMs = performance.now();
  const told = await command(["secret", "set", "TOKEN", "--host", "github.com"], `${value}\n`);
  console.log(`dormouse secret set took ${Math.round(performance.now() - startedMs)} ms`);
  expect(told).toBe("TOKEN goes to github.com. Programs that are started from now on find its variable.\n");
  expect((await sh("printenv TOKEN")).text).toMatch(/^dormouse-secret-[a-z0-9]{40}$/);
  expect(await command(["secret", "list"])).toMatch(/TOKEN +github.com +all/);
  expect(await command(["secret", "list", "--json"])).not.toContain(value);
});

test("curl, Python, Node and git reach the host with the value, in terminals and for root too", {
  timeout: 300_000,
}, async () => {
  expect(await sh(`curl -sS ${bearer} https://github.com/curl`)).toMatchObject({ text: "seen /curl 0", problem: "" });
  const python =
    "import os, urllib.request as u; print(u.urlopen(u.Request('https://github.com/python', headers={'Authorization': 'Bearer ' + os.environ['TOKEN']})).read().decode())";
  expect(await sh(`python3 -c "${python}"`)).toMatchObject({ text: "seen /python 0" });
  const node =
    "fetch('https://github.com/node', { method: 'POST', body: 'x'.repeat(1e6), headers: { authorization: 'Bearer ' + process.env.TOKEN } }).then((r) => r.text()).then(console.log)";
  expect(await sh(`node -e "${node}"`)).toMatchObject({ text: "seen /node 1000000" });
  await sh(
    'git -c http.extraHeader="Authorization: Basic $(printf x:$TOKEN | base64 -w0)" ls-remote https://github.com/git',
  );
  expect(await sh(`bash -lc 'curl -sS ${bearer} https://github.com/login'`)).toMatchObject({ text: "seen /login 0" });
  expect(
    await sh(
      "curl -sS https://github.com/root; python3 -c \"import urllib.request as u; u.urlopen('https://github.com/root2')\"",
      { user: "root" },
    ),
  ).toMatchObject({ problem: "" });
  const basic = `Basic ${Buffer.from(`x:${value}`).toString("base64")}`;
  expect(seen()).toEqual([
    ...["/curl", "/python", "/node"].map((path) => [path, `Bearer ${value}`]),
    ["/git/info/refs?service=git-upload-pack", basic],
    ...[
      ["/login", `Bearer ${value}`],
      ["/root", undefined],
      ["/root2", undefined],
    ],
  ]);
});

test("it goes nowhere else: another host, another name of the address, another Host header, plain HTTP", {
  timeout: 120_000,
}, async () => {
  const status = "-s -o /dev/null -w '%{http_code}'";
  expect((await sh(`curl -k ${status} ${bearer} https://pypi.org/other`)).text).toBe("200");
  expect((await sh(`curl ${status} ${bearer} -H 'Host: pypi.org' https://github.com/host`)).text).toBe("421");
  expect((await sh(`curl ${status} ${bearer} http://github.com/plain`)).text).toBe("403");
  const [[path, authorization] = []] = seen();
  expect(server.seen).toHaveLength(1);
  expect(path).toBe("/other");
  expect(authorization).toMatch(/^Bearer dormouse-secret-/);
});

test("it is in no byte of the machine, of logs and of state: as it is, hex, base64, UTF-16", {
  timeout: 400_000,
}, async () => {
  const { text: placeholder } = await sh("printenv TOKEN");
  await workspace.exec("sleep 3600", { background: true });
  await sh(`curl -sS ${bearer} https://github.com/last`);
  await workspace.hibernate();
  const marks = ["FORBIDDEN-a-value", placeholder];
  const { stdout } = await run("python3", ["-c", search, marks.join(","), platform.dataDir], {
    timeoutMs: 300_000,
  });
  const found = stdout.trim().split("\n");
  expect(found.filter((line) => line.startsWith("FORBIDDEN"))).toEqual([]);
  // What is to be found says that the search finds: in the memory of the machine that sleeps.
  const inMemory = (line: string) => line.startsWith(`${placeholder} raw`) && !line.endsWith("machine.json");
  expect(found.filter(inMemory).filter((line) => line.includes("/machines/"))).not.toEqual([]);
  console.log(`${found.length} places hold the placeholder, none the value`);
});

test("it survives sleep and the daemon's restart; a fork has a placeholder of its own", {
  timeout: 300_000,
}, async () => {
  const { text: placeholder } = await sh("printenv TOKEN");
  expect((await sh(`curl -sS ${bearer} https://github.com/woken`)).text).toBe("seen /woken 0");
  // What the daemon knew is gone with it; control tells the next one.
  const { host } = platform.platform.services;
  const before = host.pid ?? 0;
  process.kill(before, "SIGKILL");
  await eventually("the host runs again", async () => host.pid !== undefined && host.pid !== before);
  const works = async () => (await sh(`curl -sS ${bearer} https://github.com/again`)).text === "seen /again 0";
  await eventually("the value is sent again", works, 60_000);
  const [fork] = await workspace.fork();
  if (!fork?.workspace) throw fork?.error ?? new Error("no fork");
  const { stdout } = await fork.workspace.exec([
    "sh",
    "-c",
    `printenv TOKEN; curl -sS ${bearer} https://github.com/fork; curl -s -H 'X-Key: ${placeholder}' https://github.com/parents`,
  ]);
  const [own, answer, refused] = stdout.trim().split("\n");
  expect(own).not.toBe(placeholder);
  expect(answer).toBe("seen /fork 0");
  expect(refused).toContain("no secret of this workspace");
  await Workspace.kill(fork.workspace.id, { connection: platform.connection });
  expect(seen()).toEqual(["/woken", "/again", "/fork"].map((path) => [path, `Bearer ${value}`]));
});

test("a new value holds at once, a removed secret is gone at once, and with it what the machine trusted", {
  timeout: 200_000,
}, async () => {
  const python =
    "from dormouse import Secrets; print(Secrets().set('TOKEN', 'another-value', hosts=['github.com'])['hosts'])";
  const { url: DORMOUSE_URL, apiKey: DORMOUSE_API_KEY } = platform;
  const env = { ...process.env, PYTHONPATH: "packages/sdk-python", DORMOUSE_URL, DORMOUSE_API_KEY };
  expect((await run("python3", ["-c", python], { env })).stdout).toBe("['github.com']\n");
  expect(await new Secrets(platform.connection).list()).toMatchObject([{ name: "TOKEN", hosts: ["github.com"] }]);
  await sh(`curl -sS ${bearer} https://github.com/new`);
  const { text: placeholder } = await sh("printenv TOKEN");
  expect(await command(["secret", "rm", "TOKEN"])).toBe("TOKEN is removed.\n");
  expect((await sh("printenv TOKEN")).exitCode).toBe(1);
  await sh(`curl -sSk -H 'Authorization: Bearer ${placeholder}' https://github.com/old`);
  expect(seen()).toEqual([
    ["/new", "Bearer another-value"],
    ["/old", `Bearer ${placeholder}`],
  ]);
  const trusts = "ls /etc/dormouse /usr/local/share/ca-certificates; find /etc/ssl -lname '/etc/dormouse/*'";
  expect((await sh(trusts)).text).not.toMatch(/^ca\.pem|dormouse-secrets/m);
  const { forbidden } = await world.forbidden();
  expect(forbidden.filter((packet) => packet.includes("FORBIDDEN"))).toEqual([]);
});

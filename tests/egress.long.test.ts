import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EgressWorld, pretendEgressWorld } from "../packages/network/src/testing/pretend-egress.ts";
import { accessibilityFaults } from "./support/accessibility.ts";
import { attempt, prepareAttempts, startTraffic } from "./support/egress-machine.ts";
import { killEgressProgram } from "./support/egress-programs.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { type PretendPackages, startPretendPackages } from "./support/pretend-packages.ts";
import { launchBrowser, newPage } from "./support/workbench-page.ts";

// Egress of real machines, with all of the internet pretended. The table itself is in tests/recovery.test.ts.
const owned = disposer();
let pretended: EgressWorld;
let packages: PretendPackages;
let platform: TestPlatform;
let workspace: Workspace;

beforeAll(async () => {
  pretended = await pretendEgressWorld("dmegmach");
  owned.add(() => pretended[Symbol.asyncDispose]());
  packages = await startPretendPackages("dmegmach");
  owned.add(() => packages[Symbol.asyncDispose]());
  platform = await startTestPlatform({ egressMode: "default", resolver: pretended.internet.address });
  owned.add(async () => platform[Symbol.asyncDispose]());
});
afterAll(() => owned[Symbol.asyncDispose]());

test("git clone, npm ci, a download as of pip, and apt-get update pass under the default policy, and little else", {
  timeout: 600_000,
}, async () => {
  workspace = await Workspace.create({ connection: platform.connection, name: "tools" });
  const { policy } = await workspace.egress.show();
  expect(policy.allow).toEqual(
    expect.arrayContaining(["registry.npmjs.org", "pypi.org", "deb.debian.org", "github.com"]),
  );
  await workspace.files.write("/tmp/ca.pem", packages.certificate);
  const env = { GIT_SSL_CAINFO: "/tmp/ca.pem", NODE_EXTRA_CA_CERTS: "/tmp/ca.pem", SSL_CERT_FILE: "/tmp/ca.pem" };
  const works = async (command: string) => {
    const { stdout, stderr, exitCode } = await workspace.exec(["sh", "-c", command], { env, timeoutMs: 240_000 });
    expect(exitCode, `${command}: ${stderr}${stdout}`).toBe(0);
    return stdout.trim();
  };
  await pretended.forbidden();

  expect(await works("git clone -q https://github.com/ada/demo.git /tmp/demo && cat /tmp/demo/README.md")).toBe(
    "# Demo",
  );

  const manifest = { name: "probe", version: "1.0.0", dependencies: { greet: "1.0.0" } };
  const resolved = "https://registry.npmjs.org/greet/-/greet-1.0.0.tgz";
  const locked = { version: "1.0.0", resolved, integrity: packages.npmIntegrity };
  const lock = {
    ...manifest,
    lockfileVersion: 3,
    requires: true,
    packages: { "": manifest, "node_modules/greet": locked },
  };
  await workspace.files.write("/tmp/probe/package.json", JSON.stringify(manifest));
  await workspace.files.write("/tmp/probe/package-lock.json", JSON.stringify(lock));
  const npm = "npm ci --no-audit --no-fund --registry https://registry.npmjs.org/";
  expect(await works(`cd /tmp/probe && ${npm} >&2 && node -p 'require("greet")()'`)).toBe("greetings");

  await workspace.files.write(
    "/tmp/download.py",
    `import hashlib, re, urllib.request
page = urllib.request.urlopen("https://pypi.org/simple/greet/").read().decode()
url, digest = re.search(r'href="([^"#]+)#sha256=([0-9a-f]+)"', page).groups()
assert hashlib.sha256(urllib.request.urlopen(url).read()).hexdigest() == digest
print("downloaded")
`,
  );
  expect(await works("python3 /tmp/download.py")).toBe("downloaded");

  await workspace.files.write("/tmp/trial.list", "deb [trusted=yes] http://deb.debian.org/debian trial main\n");
  const only = "-o Dir::Etc::SourceList=/tmp/trial.list -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=0";
  await works(`sudo apt-get update ${only} && apt-cache ${only} show greet | grep -q 'greets'`);
  expect((await pretended.forbidden()).forbidden).toEqual([]);

  // What is not of the default policy is refused clearly and long before any time-out.
  for (const place of [
    "https://evil.test/",
    "https://198.51.100.66/",
    "http://198.51.100.66/",
    "https://198.51.100.40/",
  ]) {
    const command = `curl -sSf -o /dev/null -w '%{time_total}' --cacert /tmp/ca.pem ${place}`;
    const { stdout, stderr, exitCode } = await workspace.exec(["sh", "-c", command]);
    expect(exitCode, `${place} ${stdout}`).not.toBe(0);
    expect(stderr, place).toMatch(/resolve host|refused|access denied|Connection reset|No route|alert|403/i);
    expect(Number(stdout), `${place}: ${stderr}`).toBeLessThan(5);
    console.log(`${place}: ${stdout} s: ${stderr.trim()}`);
  }
  expect((await pretended.forbidden()).forbidden).toEqual([]);
  await Workspace.kill(workspace.id, { connection: platform.connection });
});

test("the policy goes along through sleep and into forks, and a change reaches what runs", {
  timeout: 300_000,
}, async () => {
  workspace = await Workspace.create({ connection: platform.connection, name: "tries" });
  await prepareAttempts(workspace);
  const ways = ["TLS to an allowed name", "TLS with another name of the same address"];
  const outcomesOf = async (target: Workspace) => (await attempt(target, ways)).map(({ outcome }) => outcome);
  await workspace.hibernate();
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
  const [fork] = await workspace.fork();
  if (!fork?.workspace) throw fork?.error ?? new Error("no fork");
  expect(await outcomesOf(fork.workspace)).toEqual(["answered", "refused"]);
  await fork.workspace.egress.deny("allowed.test");
  expect(await outcomesOf(fork.workspace)).toEqual(["refused", "refused"]);
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
  const { refusals, hours } = await fork.workspace.egress.log();
  expect(refusals).toEqual(expect.arrayContaining([expect.objectContaining({ name: "allowed.test", rule: null })]));
  expect(hours.at(-1)?.count).toBeGreaterThan(0);
  expect((await pretended.forbidden()).forbidden).toEqual([]);
  await Workspace.kill(fork.workspace.id, { connection: platform.connection });
  await platform.restart();
  workspace = await Workspace.connect(workspace.id, { connection: platform.connection });
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
});

test("the console shows what was refused, and changes the policy of what runs", { timeout: 120_000 }, async () => {
  const outcomes = async () => (await attempt(workspace, ways)).map(({ outcome }) => outcome);
  const ways = ["TLS to an allowed name", "an address as it is, on another port", "a name that no rule has"];
  expect(await outcomes()).toEqual(["answered", "refused", "refused"]);
  const problems: string[] = [];
  const browser = await launchBrowser();
  try {
    const page = await newPage(browser, problems);
    await page.goto(await platform.platform.createSignInLink("/"));
    await page.getByRole("button", { name: "Egress of tries" }).click();
    const dialog = page.getByRole("dialog", { name: "What may leave tries" });
    await dialog.getByText("198.51.100.66:8080", { exact: true }).waitFor();
    await dialog.getByText(/Refused in the last day: [1-9]/).waitFor();
    expect(await accessibilityFaults(page)).toEqual([]);
    if (process.env.DORMOUSE_PICTURES) {
      await page.screenshot({ path: join(process.env.DORMOUSE_PICTURES, "egress-console.png") });
    }
    // A name, a range and a port; what is wrong is said and changes nothing.
    const add = async (rule: string, verb: "Allow" | "Deny") => {
      await dialog.getByRole("textbox", { name: "A rule" }).fill(rule);
      await dialog.locator(".egress-new").getByRole("button", { name: verb }).click();
    };
    await add("a b", "Allow");
    await dialog
      .getByRole("alert")
      .getByText(/a rule is/)
      .waitFor();
    await add("allowed.test", "Deny");
    const denied = dialog.getByRole("region", { name: "Denied, whatever allows it" });
    await denied.getByRole("button", { name: "Remove allowed.test" }).waitFor();
    expect(await outcomes()).toEqual(["refused", "refused", "refused"]);
    await denied.getByRole("button", { name: "Remove allowed.test" }).click();
    await denied.getByRole("button", { name: "Remove allowed.test" }).waitFor({ state: "detached" });
    await add("allowed.test", "Allow");
    await add("198.51.100.64/26:8000-8100", "Allow");
    await dialog.getByRole("button", { name: "Remove 198.51.100.64/26:8000-8100" }).waitFor();
    expect((await pretended.forbidden()).forbidden).toEqual([]);
    expect(await outcomes()).toEqual(["answered", "answered", "refused"]);
    // It was allowed, so it did leave.
    expect((await pretended.forbidden()).forbidden).not.toEqual([]);
    await dialog.getByRole("button", { name: "Remove 198.51.100.64/26:8000-8100" }).click();
    await dialog.getByRole("button", { name: "Remove 198.51.100.64/26:8000-8100" }).waitFor({ state: "detached" });
    expect(problems).toEqual([]);
  } finally {
    await browser.close();
  }
});

test("while host daemon, proxy and the maps' program are killed at random, nothing gets out, and soon all works", {
  timeout: 600_000,
}, async () => {
  const seconds = 100;
  const { refusals: before } = await workspace.egress.log();
  await pretended.forbidden();
  const result = await startTraffic(workspace, seconds);
  const endsMs = Date.now() + (seconds - 15) * 1_000;
  const killed: string[] = [];
  while (Date.now() < endsMs) {
    await new Promise((resolve) => setTimeout(resolve, 3_000 + Math.random() * 9_000));
    const host = platform.platform.services.host.pid;
    if (host === undefined) continue;
    const what = (["host", "egress-proxy", "egress-maps"] as const)[Math.floor(Math.random() * 3)] ?? "host";
    if (what === "host") process.kill(host, "SIGKILL");
    else await killEgressProgram(host, what);
    killed.push(what);
  }
  await eventually("the host runs again", async () => platform.platform.services.host.pid !== undefined);
  const traffic = await result();
  console.log(`killed: ${killed.join(", ")}; ${JSON.stringify(traffic)}`);
  expect(traffic.forbidden).toBe(0);
  expect(traffic.allowed).toBeGreaterThan(0);
  expect(await attempt(workspace, ["TLS to an allowed name"])).toMatchObject([{ outcome: "answered" }]);
  // What was refused before is known to the last of the daemons.
  const { refusals } = await workspace.egress.log();
  const places = refusals.map(({ name, address, port }) => `${name} ${address} ${port}`);
  expect(places).toEqual(expect.arrayContaining(before.map(({ name, address, port }) => `${name} ${address} ${port}`)));
  expect((await pretended.forbidden()).forbidden).toEqual([]);
});

// Each wrong input gives one clear line in command line and API, and nothing half-made stays behind.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Workspace } from "@dormouse/sdk";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { dormouse } from "./support/dormouse.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let platform: TestPlatform;
let internet: PretendInternet;
let folder: string;
beforeAll(async () => {
  internet = await createPretendInternet();
  platform = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "dormouse-bad-input-"));
  await internet.addRepository("demo", { "README.md": "hello\n" });
  await internet.addRepository("private/secret", { "README.md": "hush\n" });
  await internet.addRepository("empty", {});
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  expect(await Workspace.list({ connection: platform.connection }), "nothing half-made stays").toEqual([]);
});

/** Runs a command that must fail, with exactly one line on standard error that says why. */
async function refused(args: string[], why: RegExp): Promise<void> {
  const { exitCode, stderr, stdout } = await dormouse(platform, args);
  expect(exitCode, stdout).not.toBe(0);
  const lines = stderr
    .trim()
    .split("\n")
    .filter((line) => line.includes("dormouse:"));
  expect(lines, stderr).toHaveLength(1);
  expect(lines[0]).toMatch(why);
}

async function api(path: string, init: RequestInit = {}): Promise<{ status: number; body: Record<string, unknown> }> {
  const headers = { authorization: `Bearer ${platform.apiKey}`, "content-type": "application/json" };
  const response = await fetch(`${platform.url}/api${path}`, { headers, ...init });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

it("an unknown repository", () =>
  refused(["create", `${internet.gitUrl}/nowhere.git`], /not found|no repository|does not exist/i));

it("refused authentication", () =>
  refused(["create", `${internet.gitUrl}/private/secret.git`], /refused to let you in|sign-in/i));

it("a branch that is not there", () =>
  refused(["create", `${internet.gitUrl}/demo.git`, "--ref", "no-such-branch"], /no-such-branch/));

it("a host that does not answer", () => refused(["create", "http://198.18.77.2:9/x.git"], /198\.18\.77\.2/));

it("an empty repository opens, on a branch yet to be born", async () => {
  const created = await dormouse(platform, ["create", `${internet.gitUrl}/empty.git`, "--name", "blank"]);
  expect(created.exitCode, created.stderr).toBe(0);
  const { stdout } = await dormouse(platform, ["exec", "blank", "--", "git", "status", "-sb"]);
  expect(stdout).toContain("No commits yet");
  await Workspace.kill("blank", { connection: platform.connection });
});

it("a folder that is no repository", () => refused(["create", folder], /repository/));

it("a folder that is not there", () => refused(["create", "./no/such/folder"], /no\/such\/folder/));

it("a 300-character name", async () => {
  await refused(["create", "--name", "n".repeat(300)], /63/);
  const { status, body } = await api("/workspaces", {
    method: "POST",
    body: JSON.stringify({ name: "n".repeat(300) }),
  });
  expect(status).toBe(400);
  expect(body).toMatchObject({ code: "invalid_argument" });
  expect(String(body.message)).toContain("name");
});

it("a template that does not exist", async () => {
  await refused(["create", "--template", "nope"], /nope.*base/);
  const { status, body } = await api("/workspaces", { method: "POST", body: JSON.stringify({ template: "nope" }) });
  expect([status, body.code]).toEqual([404, "not_found"]);
});

it("a workspace that does not exist", async () => {
  await refused(["exec", "nobody", "--", "true"], /nobody/);
  expect((await api("/workspaces/nobody")).status).toBe(404);
});

it("JSON that is none, a field of the wrong type, an unknown route", async () => {
  expect((await api("/workspaces", { method: "POST", body: "{" })).status).toBe(400);
  const wrong = await api("/workspaces", { method: "POST", body: JSON.stringify({ ttlSeconds: "soon" }) });
  expect([wrong.status, wrong.body.code]).toEqual([400, "invalid_argument"]);
  expect(String(wrong.body.message)).toContain("ttlSeconds");
  expect((await api("/no/such/route")).status).toBe(404);
});

it("no credentials, wrong credentials", async () => {
  for (const headers of [{}, { authorization: "Bearer wrong" }]) {
    for (const path of ["/api/workspaces", "/api/me", "/api/workspaces/x/guest/file?path=/etc/passwd"]) {
      const response = await fetch(`${platform.url}${path}`, { headers });
      expect(response.status, path).toBe(401);
      expect(await response.json()).toMatchObject({ code: "unauthenticated" });
    }
  }
});

it("more than the host holds", async () => {
  const { status, body } = await api("/workspaces", {
    method: "POST",
    body: JSON.stringify({ resources: { memoryMib: 262_144 } }),
  });
  expect([status, body.code]).toEqual([429, "resource_exhausted"]);
  expect(String(body.message)).toMatch(/free/);
});

it("a path outside the root, a file that is not there, a full disk", async () => {
  const { connection } = platform;
  await using workspace = await Workspace.create({ connection });
  await expect(workspace.files.read("/workspace/../../../../etc/shadow-nope")).rejects.toThrow(/shadow-nope/);
  await expect(workspace.files.read("relative")).rejects.toThrow(/starts with \//);
  const { stdout } = await workspace.exec("readlink -f /workspace/../../.. && ls / | sort | tr '\\n' ' '");
  expect(stdout).not.toContain("system");
  await workspace.exec(
    "fallocate -l 100G /workspace/fill 2>/dev/null || dd if=/dev/zero of=/workspace/fill bs=1M count=1 2>/dev/null; true",
  );
  const free = Number((await workspace.exec("df --output=avail -B1 /workspace | tail -1")).stdout);
  await workspace.exec(`fallocate -l ${free - 8192} /workspace/fill2; true`);
  const written = workspace.files.write("/workspace/big.bin", new Uint8Array(4 * 1024 * 1024));
  await expect(written).rejects.toMatchObject({ code: "resource_exhausted" });
  const left = await workspace.exec("ls -a /workspace | grep -c big; true");
  expect(left.stdout.trim(), "nothing half-written stays").toBe("0");
  expect((await workspace.exec("echo alive")).stdout).toBe("alive\n");
});

it("a user's call that is the host's alone", async () => {
  const { connection } = platform;
  await using workspace = await Workspace.create({ connection });
  const adoption = { name: "0".repeat(32), command: "true", startedMs: 0, output: [] };
  for (const [call, input] of [
    ["machine/collectGarbage", {}],
    ["exec/adopt", adoption],
  ] as const) {
    const { status } = await api(`/workspaces/${workspace.id}/guest/rpc/${call}`, {
      method: "POST",
      body: JSON.stringify({ json: input }),
    });
    expect(status, call).toBe(403);
  }
  expect((await workspace.exec("echo alive")).stdout).toBe("alive\n");
});

it("a wrong command line", async () => {
  const { exitCode, stderr } = await dormouse(platform, ["create", "--ttl", "soon"]);
  expect([exitCode, stderr.includes("soon")]).toEqual([2, true]);
  expect((await dormouse(platform, ["no-such-command"])).exitCode).toBe(2);
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { EgressPolicy } from "../policy/policy.ts";
import type { Slot } from "../slot.ts";
import { createSlotPool, type SlotPool } from "../slot-pool.ts";
import { type Pretended, pretendGuest } from "../testing/pretend.ts";
import { type EgressWorld, pretendEgressWorld, world } from "../testing/pretend-egress.ts";
import { type SecretServer, startSecretServer } from "../testing/pretend-secret-server.ts";
import type { EgressSecret } from "./secrets.ts";

// A namespace in place of a machine, real packets through filter, proxy and forwarder, and servers that tell what reached them.
const logger = createLogger({ level: "error", write: console.log });
const owned = disposer();
const placeholder = `dormouse-secret-${"k".repeat(40)}`;
// Whoever watches the way to the world says so when it passes in the clear.
const value = "FORBIDDEN-value";
const restricted: EgressPolicy = { mode: "restricted", allow: ["github.com", "pypi.org"], deny: [], caps: [] };
let pretended: EgressWorld;
let server: SecretServer;
let pool: SlotPool;
let slot: Slot;
let guest: Pretended;
let trust: string;

beforeAll(async () => {
  pretended = await pretendEgressWorld("dmsecw");
  owned.add(() => pretended[Symbol.asyncDispose]());
  server = await startSecretServer(pretended.internet.namespace);
  owned.add(() => server[Symbol.asyncDispose]());
  const { address: resolver } = pretended.internet;
  const extraRoots = [server.root];
  pool = await createSlotPool({ namePrefix: "dmsec", uidBase: 708_000, size: 1, max: 1, resolver, extraRoots, logger });
  owned.add(() => pool.close());
  slot = await pool.allocate();
  await pool.egress.setPolicy(slot.index, restricted);
  guest = await pretendGuest(slot, pool);
  owned.add(() => guest[Symbol.asyncDispose]());
  const folder = await mkdtemp(join(tmpdir(), "dormouse-trust-"));
  owned.add(() => rm(folder, { recursive: true, force: true }));
  trust = join(folder, "ca.pem");
  await writeFile(trust, pool.egress.certificate("org-1", ["github.com"]).pem);
});
afterAll(() => owned[Symbol.asyncDispose]());
beforeEach(async () => {
  server.seen.length = 0;
  await pool.egress.setPolicy(slot.index, restricted);
});

const have = (change: Partial<EgressSecret> = {}) =>
  pool.egress.setSecrets(slot.index, {
    organisation: "org-1",
    secrets: [{ name: "TOKEN", placeholder, hosts: ["github.com"], isInsecure: false, value, ...change }],
  });
/** Asks as a program in the machine does that knows the resolver's answer. */
async function curl(...args: string[]): Promise<{ status: number; body: string }> {
  const names = ["github.com", "pypi.org"].flatMap((name) =>
    [80, 443].flatMap((port) => ["--resolve", `${name}:${port}:${world.registries}`]),
  );
  const { stdout } = await run(
    "nsenter",
    [`--net=/run/netns/${guest.namespace}`, "curl", "-s", "-m", "10", "-w", "\n%{http_code}", ...names, ...args],
    { okCodes: [0, 7, 35, 52, 56, 60] },
  );
  const lines = stdout.split("\n");
  return { status: Number(lines.pop()), body: lines.join("\n") };
}
const bearer = ["-H", `Authorization: Bearer ${placeholder}`];
const authorizations = () => server.seen.map(({ headers }) => headers.authorization);

test("the value reaches its host, and nothing of it is on the wire in the clear", async () => {
  await have();
  await pretended.forbidden();
  expect(await curl("--cacert", trust, ...bearer, "https://github.com/a", "-d", "body")).toEqual({
    status: 200,
    body: "seen /a 4\n",
  });
  expect(authorizations()).toEqual([`Bearer ${value}`]);
  const { seen, forbidden } = await pretended.forbidden();
  expect(seen).toBeGreaterThan(0);
  expect(forbidden).toEqual([]);
});

test("a host that no secret names is not decrypted, at the same address too", async () => {
  await have();
  expect(await curl("--cacert", server.rootFile, ...bearer, "https://pypi.org/")).toMatchObject({ status: 200 });
  // What stands in for github.com is nothing that it would believe.
  expect(await curl("--cacert", trust, ...bearer, "https://pypi.org/")).toMatchObject({ status: 0 });
  expect(authorizations()).toEqual([`Bearer ${placeholder}`]);
  expect(await curl("--cacert", trust, ...bearer, "-H", "Host: pypi.org", "https://github.com/")).toMatchObject({
    status: 421,
  });
  expect(server.seen).toHaveLength(1);
});

test("plain HTTP gets it only where that was allowed", async () => {
  await have();
  expect(await curl(...bearer, "http://github.com/")).toMatchObject({ status: 403 });
  expect(server.seen).toEqual([]);
  await have({ isInsecure: true });
  expect(await curl(...bearer, "http://github.com/")).toMatchObject({ status: 200 });
  expect(await curl(...bearer, "http://pypi.org/")).toMatchObject({ status: 200 });
  expect(server.seen.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${value}`, `Bearer ${placeholder}`]);
  await pretended.forbidden();
});

test("where everything may leave, names are seen all the same, and no address gets it that is not the host's", async () => {
  await pool.egress.setPolicy(slot.index, { mode: "open", allow: [], deny: [], caps: [] });
  await have();
  expect(await curl("--cacert", trust, ...bearer, "https://github.com/")).toMatchObject({ status: 200 });
  expect(authorizations()).toEqual([`Bearer ${value}`]);
  const astray = ["--resolve", `github.com:443:${world.evil}`, "--resolve", `github.com:80:${world.evil}`];
  const { status, body } = await curl(...astray, "--cacert", trust, ...bearer, "https://github.com/");
  expect({ status, body }).toMatchObject({ status: 502, body: expect.stringContaining("certificate") });
  await have({ isInsecure: true });
  expect(await curl(...astray, ...bearer, "http://github.com/")).toMatchObject({ status: 403 });
  const { forbidden } = await pretended.forbidden();
  expect(forbidden.filter((packet) => packet.includes("FORBIDDEN"))).toEqual([]);
});

test("a secret that is taken back is not sent any more, and what it opened is cut", async () => {
  await have();
  const upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: echo", "-N", "--no-buffer"];
  const open = curl("--cacert", trust, ...bearer, ...upgrade, "https://github.com/open");
  await expect.poll(() => server.seen.length, { timeout: 5_000 }).toBe(1);
  const startedMs = performance.now();
  await pool.egress.setSecrets(slot.index, { organisation: "org-1", secrets: [] });
  await open;
  // Long before curl would have given up.
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  await curl("--cacert", server.rootFile, ...bearer, "https://github.com/");
  expect(authorizations()).toEqual([`Bearer ${value}`, `Bearer ${placeholder}`]);
  await have({ value: undefined });
  expect(await curl("--cacert", trust, ...bearer, "https://github.com/")).toMatchObject({
    status: 502,
    body: expect.stringContaining("secret TOKEN cannot be read now"),
  });
  expect(server.seen).toHaveLength(2);
});

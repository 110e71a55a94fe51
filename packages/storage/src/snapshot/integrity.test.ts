import { createId, DormouseError } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { sha256Of } from "../format/block-codec.ts";
import { blockBytes } from "../format/block-ref.ts";
import { canonicalJson, encodeManifest, type SnapshotManifest } from "../format/manifest.ts";
import { encodePackHeader, packHeaderBytes, packKey } from "../format/pack-header.ts";
import type { ObjectStore } from "../object-store.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { snapshotKey } from "./catalog.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot-store.ts";

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
let folder: string;
let objects: ObjectStore;
let store: SnapshotStore;
let manifest: SnapshotManifest;
let manifestKey: string;
const workspaceId = createId("ws");
const key = { id: "org", bytes: Buffer.alloc(32, 5) };
const seed = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);

beforeAll(async () => {
  testFolder = await createTestFolder("integrity");
  folder = testFolder.path;
  objects = await createFileStore({ folder });
  store = createSnapshotStore({ objects, findKey: (id) => (id === key.id ? key : undefined) });
  manifest = await write(key);
  manifestKey = snapshotKey(workspaceId, manifest.id);
});
afterAll(() => testFolder[Symbol.asyncDispose]());

async function write(sealedWith: typeof key | undefined, id = workspaceId): Promise<SnapshotManifest> {
  const next = random(1);
  const writer = await store.begin({ workspaceId: id, generation: 3, reason: "manual", parent: null, key: sealedWith });
  const memory = writer.memory(300 * blockBytes);
  for (let block = 0; block < 300; block += 75)
    await memory.write(block, randomBytes(next, blockBytes, block % 2 === 0));
  await writer.devices(randomBytes(next, 9000));
  writer.facts({ note: "fünf" });
  return writer.publish();
}

/** Reads everything; what it says, or nothing when all was accepted. */
async function readAll(): Promise<DormouseError | undefined> {
  try {
    await (await store.open(workspaceId, manifest.id)).verify();
    return undefined;
  } catch (error) {
    if (error instanceof DormouseError) return error;
    throw error;
  }
}

/** Runs a check with other bytes in an object's place, and puts the right ones back. */
async function withBytes(name: string, bytes: Buffer, check: () => Promise<void>): Promise<void> {
  const right = await objects.get(name);
  await objects.put(name, bytes);
  try {
    await check();
  } finally {
    await objects.put(name, right);
  }
}

async function expectDamage(name: string, bytes: Buffer, what: string, message: RegExp): Promise<void> {
  await withBytes(name, bytes, async () => {
    const error = await readAll();
    if (error?.code !== "data_loss" || !message.test(error.message)) {
      expect.fail(`${what}: ${error ? `${error.code} ${error.message}` : "accepted"}`);
    }
  });
}

test("every byte of the manifest is covered: each flipped, alone, is data_loss naming the manifest", async () => {
  const right = await objects.get(manifestKey);
  for (let at = 0; at < right.length; at++) {
    const bytes = Buffer.from(right);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
    await expectDamage(manifestKey, bytes, `manifest byte ${at}`, /manifest snapshots\/\S+ is damaged/);
  }
  for (let length = 0; length < right.length; length += 97) {
    await expectDamage(manifestKey, right.subarray(0, length), `manifest cut at ${length}`, /is damaged/);
  }
  await expectDamage(manifestKey, Buffer.concat([right, Buffer.from(" ")]), "longer manifest", /is damaged/);
  expect(await readAll()).toBeUndefined();
});

test("every byte of a pack's header is covered", async () => {
  const name = packKey(manifest.packs[0]?.id ?? "");
  const right = await objects.get(name);
  for (let at = 0; at < packHeaderBytes; at++) {
    const bytes = Buffer.from(right);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
    await expectDamage(name, bytes, `header byte ${at}`, /the header of pack [0-9a-f]{32} is damaged/);
  }
  const header = (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(right);
    change(bytes);
    bytes.write(sha256Of(bytes.subarray(0, 40)), 40, "hex");
    return bytes;
  };
  await expectDamage(
    name,
    header((bytes) => bytes.write("PACKDORM")),
    "magic",
    /it is no pack/,
  );
  await expectDamage(
    name,
    header((bytes) => bytes.writeUInt32LE(80, 12)),
    "length",
    /says to be 80 bytes long/,
  );
  const other = encodePackHeader({ id: "00".repeat(16), fingerprint: null });
  await expectDamage(name, Buffer.concat([other, right.subarray(packHeaderBytes)]), "id", /it is of pack 0000/);
  const open = encodePackHeader({ id: manifest.packs[0]?.id ?? "", fingerprint: null });
  await expectDamage(name, Buffer.concat([open, right.subarray(packHeaderBytes)]), "key", /the manifest says/);
  await withBytes(
    name,
    header((bytes) => bytes.writeUInt32LE(2, 8)),
    async () => {
      const error = await readAll();
      expect(error).toMatchObject({ code: "failed_precondition" });
      expect(error?.message).toMatch(/has format version 2; this Dormouse reads 1/);
    },
  );
});

test(`1000 mutations and truncations of a pack are all refused by the pack's name (SEED=${seed})`, async () => {
  const next = random(seed);
  const name = packKey(manifest.packs[0]?.id ?? "");
  const right = await objects.get(name);
  const named = /pack [0-9a-f]{32} (is damaged|at \d+ holds)/;
  for (let attempt = 0; attempt < 1000; attempt++) {
    const bytes = Buffer.from(right);
    const at = packHeaderBytes + Math.floor(next() * (right.length - packHeaderBytes));
    const kind = next();
    if (kind < 0.5) bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(next() * 255));
    else if (kind < 0.7)
      bytes.fill((bytes[at] ?? 0) ^ 1, at, Math.min(right.length, at + 1 + Math.floor(next() * 5000)));
    else if (kind < 0.8) bytes.copyWithin(at, packHeaderBytes, packHeaderBytes + 2000);
    const mutated = kind < 0.8 ? bytes : bytes.subarray(0, at);
    if (mutated.equals(right)) continue;
    await expectDamage(name, mutated, `attempt ${attempt}`, named);
  }
  expect(await readAll()).toBeUndefined();
});

test("a manifest with a right hash, made without the organisation's key, is refused", async () => {
  const forged = { ...manifest, facts: { note: "forged" } };
  const { bytes } = encodeManifest(forged);
  await expectDamage(manifestKey, bytes, "forged manifest", /was not made with key org: its HMAC does not fit/);
  const open = { ...forged, keyId: null };
  await expectDamage(manifestKey, encodeManifest(open).bytes, "without a key", /its manifest was made with no key/);
  const unsealed = await write(undefined);
  const { keyId } = (await store.open(workspaceId, unsealed.id)).manifest;
  expect(keyId).toBeNull();
  await expect(store.open(workspaceId, unsealed.id, { keyIds: ["org"] })).rejects.toThrow(
    "is sealed with no key; it must be with org",
  );
  await store.remove(workspaceId, unsealed.id);
});

test("another snapshot's manifest under this one's name is refused", async () => {
  const other = await write(key);
  await expectDamage(
    manifestKey,
    await objects.get(snapshotKey(workspaceId, other.id)),
    "swapped",
    /it is another one's/,
  );
  await store.remove(workspaceId, other.id);
});

test("a foreign format version is refused naming both, also when nothing else can be understood", async () => {
  const json = canonicalJson({ formatVersion: 7, whatever: true });
  const covered = `"hmac":null,"manifest":${json}}\n`;
  const bytes = Buffer.from(`{"sha256":"${sha256Of(Buffer.from(covered))}",${covered}`);
  await withBytes(manifestKey, bytes, async () => {
    const error = await readAll();
    expect(error).toMatchObject({ code: "failed_precondition" });
    expect(error?.message).toMatch(/manifest snapshots\/\S+ has format version 7; this Dormouse reads 1/);
    const { damaged } = await store.list(workspaceId);
    expect(damaged.map(({ id }) => id)).toEqual([manifest.id]);
  });
});

test("a manifest of the right hash with a member that cannot be is refused naming the member", async () => {
  const wrong = { ...manifest, packs: [{ id: "x", bytes: 1, keyId: null }] } as SnapshotManifest;
  await expectDamage(manifestKey, encodeManifest(wrong).bytes, "pack id", /packs\.0\.id/);
  const more = { ...manifest, unknown: 1 } as SnapshotManifest;
  await expectDamage(manifestKey, encodeManifest(more).bytes, "unknown member", /is damaged/);
});

test("a ref outside of what the manifest lists is refused", async () => {
  const id = createId("ws");
  const open = await write(undefined, id);
  const at = snapshotKey(id, open.id);
  const attempt = async (change: (copy: SnapshotManifest) => void) => {
    const copy = structuredClone(open);
    change(copy);
    await objects.put(at, encodeManifest(copy).bytes);
    const reader = await store.open(id, open.id);
    return reader.verify().then(
      () => "accepted",
      (error) => `${error.code} ${error.message}`,
    );
  };
  expect(await attempt(() => {})).toBe("accepted");
  expect(await attempt((copy) => copy.packs.pop())).toMatch(/^data_loss .* which its manifest does not list/);
  const move = (offset: number) => (copy: SnapshotManifest) => {
    if (copy.memory?.root) copy.memory.root.offset = offset;
  };
  expect(await attempt(move(2 ** 31))).toMatch(/^data_loss .* bytes at 2147483648 of pack/);
  expect(await attempt(move(8))).toMatch(/^data_loss /);
  // A root of another length than the image needs: never more than that is decompressed.
  const resize = (copy: SnapshotManifest) => {
    if (copy.memory) copy.memory.bytes = 10_000 * blockBytes;
  };
  expect(await attempt(resize)).toMatch(/^data_loss .* holds something else than 2240 bytes/);
});

import { createId, DormouseError } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { blockBytes } from "../format/block-ref.ts";
import { createCipher, type FindKey, type StorageKey } from "../format/encryption.ts";
import { organisationKeys } from "../format/organisation-keys.ts";
import type { ObjectStore } from "../object-store.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createSnapshotStore } from "./snapshot-store.ts";
import type { BeginOptions } from "./snapshot-writer.ts";

const installation = { id: "installation", bytes: Buffer.alloc(32, 7) };
const keys = organisationKeys(installation);
const [acme, other] = ["org-acme", "org-other"];
let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
let objects: ObjectStore;
beforeAll(async () => {
  testFolder = await createTestFolder("organisations");
  objects = await createFileStore({ folder: testFolder.path });
});
afterAll(() => testFolder[Symbol.asyncDispose]());

const storeWith = (findKey: FindKey) => createSnapshotStore({ objects, findKey });
const everything = () => storeWith(keys.find);

/** A memory of 40 blocks, of which these are written. */
async function write(key: StorageKey, blocks: readonly number[], parent: BeginOptions["parent"] = null) {
  const workspaceId = createId("ws");
  const writer = await everything().begin({ workspaceId, generation: 1, reason: "manual", parent, key });
  const memory = writer.memory(40 * blockBytes);
  for (const block of blocks) await memory.write(block, randomBytes(random(block), blockBytes, false));
  await writer.devices(Buffer.from("devices"));
  return await writer.publish();
}

async function refusal(work: Promise<unknown>): Promise<DormouseError> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (error instanceof DormouseError) return error;
  throw new Error(`not refused: ${error}`);
}

test("each organisation's key is its own, on every host the same, and tells nothing of another", () => {
  const all = [installation, keys.of(acme), keys.of(other)];
  expect(new Set(all.map(({ bytes }) => Buffer.from(bytes).toString("hex"))).size).toBe(3);
  expect(new Set(all.map((key) => createCipher(key).fingerprint)).size).toBe(3);
  expect(organisationKeys({ ...installation }).of(acme)).toEqual(keys.of(acme));
  expect(keys.find(keys.of(acme).id)).toEqual(keys.of(acme));
  expect(keys.find("installation")).toBe(installation);
  expect(keys.find("elsewhere.org-acme")).toBeUndefined();
  const sealed = createCipher(keys.of(acme)).seal(Buffer.from("secret"));
  for (const key of [installation, keys.of(other)]) {
    expect(() => createCipher(key).open(sealed)).toThrow(`a block was not sealed with key ${key.id}`);
  }
});

test("one organisation's key opens nothing of another's", async () => {
  const { workspaceId, id } = await write(keys.of(acme), [1, 2, 3]);
  const reader = await everything().open(workspaceId, id, { keyIds: keys.idsFor(acme) });
  await reader.verify();
  const otherwise = await refusal(everything().open(workspaceId, id, { keyIds: keys.idsFor(other) }));
  expect(otherwise.code).toBe("failed_precondition");
  expect(otherwise.message).toBe(
    `snapshot ${id} of ${workspaceId} is sealed with key installation.org-acme; it must be with installation or installation.org-other`,
  );
  // Not what the host has, but what the key opens: a store with the other key in its place, and one without any.
  const swapped = storeWith((keyId) => ({ ...keys.of(other), id: keyId }));
  const wrong = await refusal(swapped.open(workspaceId, id));
  expect(wrong.code).toBe("failed_precondition");
  expect(wrong.message).toMatch(
    /is sealed with key installation\.org-acme of fingerprint [0-9a-f]{16}; the key installation\.org-acme here has fingerprint [0-9a-f]{16}$/,
  );
  const missing = await refusal(storeWith(() => undefined).open(workspaceId, id));
  expect(missing.message).toMatch(/is sealed with key installation\.org-acme, which is not here$/);
});

test("no object of one organisation holds a block that another's key, or the installation's, opens", async () => {
  const { packs } = await write(keys.of(acme), [11, 12]);
  const ciphers = [installation, keys.of(other)].map((key) => createCipher(key).fingerprint);
  for await (const { key } of objects.list("packs/")) {
    if (!packs.some(({ id }) => key.includes(id))) continue;
    const bytes = (await objects.get(key)).toString("hex");
    for (const fingerprint of ciphers) expect(bytes).not.toContain(fingerprint);
  }
  expect(packs.map(({ keyId }) => keyId)).toEqual(["installation.org-acme"]);
});

test("what lies under the installation's key is shared by all, and stays readable below an organisation's", async () => {
  const template = await write(installation, [0, 5, 10]);
  const parent = { workspaceId: template.workspaceId, id: template.id };
  for (const organisationId of [acme, other]) {
    const made = await write(keys.of(organisationId), [5], parent);
    expect(made.keyId).toBe(`installation.${organisationId}`);
    expect(made.keys.map(({ id }) => id).sort()).toEqual(["installation", `installation.${organisationId}`]);
    // Only what differs is stored again.
    expect(made.sizes.storedBytes).toBeLessThan(template.sizes.storedBytes / 2);
    const reader = await everything().open(made.workspaceId, made.id, { keyIds: keys.idsFor(organisationId) });
    await reader.verify();
    for (const number of [0, 5, 10]) {
      const block = await reader.memory?.readBlock(number);
      expect(block?.equals(randomBytes(random(number), blockBytes, false))).toBe(true);
    }
    // And the next one after it, as a workspace's second minute is.
    const next = await write(keys.of(organisationId), [6], { workspaceId: made.workspaceId, id: made.id });
    await (await everything().open(next.workspaceId, next.id, { keyIds: keys.idsFor(organisationId) })).verify();
  }
});

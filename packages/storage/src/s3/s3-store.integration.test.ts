import { once } from "node:events";
import { createServer } from "node:net";
import { createId } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { blockBytes } from "../format/block-ref.ts";
import { createSnapshotStore } from "../snapshot/snapshot-store.ts";
import { changeRandomly, copyModel, createModel, expectImage } from "../testing/model-image.ts";
import { objectStoreSuite } from "../testing/object-store-suite.ts";
import { random } from "../testing/random.ts";
import { type S3Server, startS3Server } from "../testing/s3-server.ts";
import { createS3Store } from "./s3-store.ts";

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server?.[Symbol.asyncDispose]());

const openStore = (
  options: { prefix?: string; secretAccessKey?: string; bucket?: string; idleTimeoutMs?: number } = {},
) => {
  const { endpoint, bucket, region, credentials } = server;
  return createS3Store({
    ...{ endpoint, bucket, region, isPathStyle: true, maxAttempts: 2 },
    ...options,
    credentials: { ...credentials, secretAccessKey: options.secretAccessKey ?? credentials.secretAccessKey },
  });
};

objectStoreSuite("an S3 bucket", async () => {
  const objects = openStore({ prefix: "suite/" });
  return { objects, isConditionalPutAtomic: true, [Symbol.asyncDispose]: async () => objects[Symbol.dispose]() };
});

test("snapshots in a bucket: a chain, a removal, the garbage", async () => {
  using objects = openStore({ prefix: "snapshots-test/" });
  let nowMs = Date.now();
  const clock = { nowMs: () => nowMs, sleep: async () => {} };
  const store = createSnapshotStore({ objects, clock });
  const workspaceId = createId("ws");
  const model = createModel(120 * blockBytes);
  const published = [];
  for (let round = 0; round < 3; round++) {
    const parent = published.at(-1)?.manifest ?? null;
    const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent });
    await changeRandomly(model, writer.memory(model.bytes), random(round), round === 0 ? 90 : 10);
    published.push({ manifest: await writer.publish(), model: copyModel(model) });
  }
  for (const { manifest, model } of published) {
    await expectImage((await store.open(workspaceId, manifest.id)).memory, model);
  }
  for (const { manifest } of published) await store.remove(workspaceId, manifest.id);
  nowMs += 3 * 3_600_000;
  expect((await store.collectGarbage()).packs).toBeGreaterThanOrEqual(3);
  const left: string[] = [];
  for await (const { key } of objects.list("")) left.push(key);
  expect(left).toEqual([]);
});

test("two stores of one bucket with different prefixes do not see each other", async () => {
  using a = openStore({ prefix: "a/" });
  using b = openStore({ prefix: "b/" });
  await a.put("key", Buffer.from("a"));
  expect(await b.stat("key")).toBeUndefined();
  await b.remove(["key"]);
  expect((await a.get("key")).toString()).toBe("a");
});

test("wrong credentials, a missing bucket and a missing server are told apart", async () => {
  using wrong = openStore({ secretAccessKey: "wrong" });
  await expect(wrong.get("a")).rejects.toMatchObject({ code: "unauthenticated" });
  using elsewhere = openStore({ bucket: "no-such-bucket" });
  await expect(elsewhere.get("a")).rejects.toMatchObject({ code: "failed_precondition" });
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  const { bucket, region, credentials } = server;
  using absent = createS3Store({ endpoint: `http://127.0.0.1:${port}`, bucket, region, credentials, maxAttempts: 2 });
  await expect(absent.get("a")).rejects.toMatchObject({ code: "unavailable" });
});

test("a server that stands still is a time-out, and can be left at once by a signal", async () => {
  using objects = openStore({ idleTimeoutMs: 500 });
  await objects.put("still", Buffer.from("x"));
  server.pause();
  try {
    await expect(objects.get("still")).rejects.toMatchObject({ code: "deadline_exceeded" });
    using patient = openStore();
    const controller = new AbortController();
    const work = patient.get("still", { signal: controller.signal });
    controller.abort();
    await expect(work).rejects.toMatchObject({ code: "cancelled" });
  } finally {
    server.resume();
  }
  expect((await objects.get("still")).toString()).toBe("x");
});

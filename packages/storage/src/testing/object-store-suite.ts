import { DormouseError } from "@dormouse/base";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ObjectStore } from "../object-store.ts";
import { random, randomBytes } from "./random.ts";

/** A store of the implementation under test, empty, gone at disposal. */
export interface SuiteStore extends AsyncDisposable {
  objects: ObjectStore;
  /** Whether a put with `ifAbsent` is one step also for two writers at the same moment. */
  isConditionalPutAtomic: boolean;
}

/** What every {@link ObjectStore} does, whatever it is made of. Call it in a test file of the implementation. */
export function objectStoreSuite(name: string, openStore: () => Promise<SuiteStore>): void {
  describe(`${name} as an object store`, () => {
    let store: SuiteStore;
    let objects: ObjectStore;
    beforeAll(async () => {
      store = await openStore();
      objects = store.objects;
    });
    afterAll(() => store?.[Symbol.asyncDispose]());

    const keysBelow = async (prefix: string) => {
      const keys: string[] = [];
      for await (const { key } of objects.list(prefix)) keys.push(key);
      return keys;
    };
    const refusal = async (work: Promise<unknown>): Promise<DormouseError> => {
      const error = await work.then(
        () => undefined,
        (caught) => caught,
      );
      expect(error).toBeInstanceOf(DormouseError);
      return error as DormouseError;
    };

    test("what is put comes back, and again after it was replaced", async () => {
      await objects.put("round/trip", Buffer.from("first"));
      expect((await objects.get("round/trip")).toString()).toBe("first");
      await objects.put("round/trip", Buffer.from("second, longer"));
      expect((await objects.get("round/trip")).toString()).toBe("second, longer");
      const facts = await objects.stat("round/trip");
      expect(facts?.bytes).toBe(14);
      // Stores with whole seconds round down; clocks of one machine agree.
      expect(Math.abs(Date.now() - (facts?.modifiedMs ?? 0))).toBeLessThan(60_000);
    });

    test("an empty object is an object", async () => {
      await objects.put("empty", Buffer.alloc(0));
      expect(await objects.stat("empty")).toMatchObject({ bytes: 0 });
      expect(await objects.get("empty")).toHaveLength(0);
      expect(await objects.get("empty", { offset: 0, length: 10 })).toHaveLength(0);
    });

    test.each([0, 1, 70_000, 5 * 1024 * 1024, 17 * 1024 * 1024 + 3])(
      "a stream of %i bytes comes back",
      async (bytes) => {
        const content = randomBytes(random(bytes + 1), bytes);
        const key = `streams/${bytes}`;
        await objects.put(key, piecesOf(content));
        expect((await objects.stat(key))?.bytes).toBe(bytes);
        expect((await objects.get(key)).equals(content)).toBe(true);
        const middle = Math.floor(bytes / 2);
        expect(
          (await objects.get(key, { offset: middle, length: 100 })).equals(content.subarray(middle, middle + 100)),
        ).toBe(true);
      },
    );

    test("ranges: within, across the end, beyond it, of nothing", async () => {
      await objects.put("range", Buffer.from("0123456789"));
      const read = async (offset?: number, length?: number) =>
        (await objects.get("range", { offset, length })).toString();
      expect(await read(2, 3)).toBe("234");
      expect(await read(7)).toBe("789");
      expect(await read(undefined, 4)).toBe("0123");
      expect(await read(8, 100)).toBe("89");
      expect(await read(10, 1)).toBe("");
      expect(await read(99, 5)).toBe("");
      expect(await read(3, 0)).toBe("");
    });

    test("what is not there: not_found naming key and store, or undefined", async () => {
      const error = await refusal(objects.get("not/there"));
      expect(error.code).toBe("not_found");
      expect(error.message).toContain("not/there");
      expect(error.message).toContain(objects.name);
      expect((await refusal(objects.get("not/there", { offset: 3, length: 1 }))).code).toBe("not_found");
      expect(await objects.stat("not/there")).toBeUndefined();
      expect(await keysBelow("not/")).toEqual([]);
    });

    test("a part of a key is no object", async () => {
      await objects.put("parent/child", Buffer.from("x"));
      expect(await objects.stat("parent")).toBeUndefined();
      expect((await refusal(objects.get("parent"))).code).toBe("not_found");
    });

    test("ifAbsent refuses what is there and leaves it", async () => {
      await objects.put("absent", Buffer.from("first"), { ifAbsent: true });
      const error = await refusal(objects.put("absent", Buffer.from("second"), { ifAbsent: true }));
      expect(error.code).toBe("already_exists");
      expect(error.message).toContain("absent");
      expect((await objects.get("absent")).toString()).toBe("first");
      const streamed = await refusal(objects.put("absent", piecesOf(Buffer.alloc(6_000_000)), { ifAbsent: true }));
      expect(streamed.code).toBe("already_exists");
      expect((await objects.get("absent")).toString()).toBe("first");
    });

    test("of writers at the same moment with ifAbsent one wins, where the store can do that", async ({ skip }) => {
      if (!store.isConditionalPutAtomic) skip(`${objects.name} has no conditional put`);
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, index) =>
          objects.put("race", Buffer.from(`writer ${index}`), { ifAbsent: true }),
        ),
      );
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      const winner = results.findIndex(({ status }) => status === "fulfilled");
      expect((await objects.get("race")).toString()).toBe(`writer ${winner}`);
    });

    test("a listing has every key below its prefix, in order, with facts", async () => {
      const keys = ["list/a", "list/a-b", "list/a.json", "list/a0", "list/b/c", "list/b/d", "list/b-", "listing"];
      for (const key of keys) await objects.put(key, Buffer.from(key));
      const below = keys.slice(0, -1).sort();
      expect(await keysBelow("list/")).toEqual(below);
      expect(await keysBelow("list/b/")).toEqual(["list/b/c", "list/b/d"]);
      for await (const { key, bytes, modifiedMs } of objects.list("list/")) {
        expect(bytes).toBe(key.length);
        expect(modifiedMs).toBeGreaterThan(0);
      }
    });

    test("more keys than one page of a listing or one removal has", async () => {
      const keys = Array.from({ length: 1203 }, (_, index) => `many/${String(index).padStart(5, "0")}`);
      for (let start = 0; start < keys.length; start += 16) {
        await Promise.all(keys.slice(start, start + 16).map((key) => objects.put(key, Buffer.from("x"))));
      }
      expect(await keysBelow("many/")).toEqual(keys);
      await objects.remove(keys);
      expect(await keysBelow("many/")).toEqual([]);
    });

    test("removing removes, also what is not there, and nothing else", async () => {
      await objects.put("remove/a", Buffer.from("a"));
      await objects.put("remove/b", Buffer.from("b"));
      await objects.remove(["remove/a", "remove/never"]);
      await objects.remove([]);
      expect(await keysBelow("remove/")).toEqual(["remove/b"]);
      await objects.put("remove/a", Buffer.from("again"));
      expect((await objects.get("remove/a")).toString()).toBe("again");
    });

    test("a body that fails leaves nothing, and what stood there stands", async () => {
      const failing = async function* () {
        yield Buffer.alloc(6 * 1024 * 1024, 1);
        throw new DormouseError("data_loss", "the source broke");
      };
      await objects.put("fails/old", Buffer.from("old"));
      expect((await refusal(objects.put("fails/old", failing()))).message).toContain("the source broke");
      expect((await objects.get("fails/old")).toString()).toBe("old");
      expect((await refusal(objects.put("fails/new", failing()))).code).toBe("data_loss");
      expect(await keysBelow("fails/")).toEqual(["fails/old"]);
    });

    test("everything can be cancelled, and a cancelled put leaves nothing", async () => {
      const signal = AbortSignal.abort();
      expect((await refusal(objects.put("cancel/a", Buffer.from("a"), { signal }))).code).toBe("cancelled");
      expect((await refusal(objects.get("cancel/a", { signal }))).code).toBe("cancelled");
      expect((await refusal(objects.stat("cancel/a", { signal }))).code).toBe("cancelled");
      expect((await refusal(objects.remove(["cancel/a"], { signal }))).code).toBe("cancelled");
      expect((await refusal(objects.list("cancel/", { signal })[Symbol.asyncIterator]().next())).code).toBe(
        "cancelled",
      );
      const controller = new AbortController();
      const endless = async function* () {
        for (let piece = 0; ; piece++) {
          if (piece === 100) controller.abort();
          yield Buffer.alloc(64 * 1024, piece);
        }
      };
      const error = await refusal(objects.put("cancel/b", endless(), { signal: controller.signal }));
      expect(error.code).toBe("cancelled");
      expect(await keysBelow("cancel/")).toEqual([]);
    });

    test.each([
      "",
      "/",
      "a//b",
      "../a",
      "a/../b",
      "a/./b",
      ".hidden",
      "a/.hidden",
      "a\\b",
      "a b",
      "ä",
      "a/",
      "x".repeat(513),
      "a\0b",
    ])("%j is refused as a key", async (key) => {
      for (const work of [
        objects.put(key, Buffer.alloc(1)),
        objects.get(key),
        objects.stat(key),
        objects.remove([key]),
      ]) {
        const error = await refusal(work);
        expect(error.code).toBe("invalid_argument");
        expect(error.message).toContain("is no object key");
      }
    });

    test("numbers and prefixes that cannot be are refused", async () => {
      expect((await refusal(objects.get("range", { offset: -1 }))).message).toContain("offset -1 of range");
      expect((await refusal(objects.get("range", { length: 1.5 }))).message).toContain("length 1.5 of range");
      const listing = (prefix: string) => objects.list(prefix)[Symbol.asyncIterator]().next();
      expect((await refusal(listing("a"))).message).toContain('must be "" or end with "/"');
      expect((await refusal(listing("../"))).code).toBe("invalid_argument");
    });
  });
}

/** Content in pieces of changing size. */
async function* piecesOf(content: Buffer): AsyncGenerator<Buffer> {
  let size = 1;
  for (let start = 0; start < content.length; ) {
    yield content.subarray(start, start + size);
    start += size;
    size = (size * 7 + 13) % 200_000;
  }
}

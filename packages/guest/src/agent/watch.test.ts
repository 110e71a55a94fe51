import { closeSync, mkdirSync, mkdtempSync, openSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWatchService, type WatchBatch } from "./watch.ts";

let root: string;
let stop: AbortController;
beforeEach(() => {
  root = mkdtempSync("/dev/shm/dormouse-watch-");
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await rm(root, { recursive: true, force: true });
});

const open = async (exclude: string[] = [], path = "/", recursive = true) => {
  const events = createWatchService(root).watch({ path, recursive, exclude }, stop.signal);
  expect((await events.next()).value).toEqual({ changes: [], overflow: false });
  return events;
};

/** Reads batches until each of `wanted` ("type path") has come; answers all that came. */
async function until(events: AsyncIterator<WatchBatch>, ...wanted: string[]): Promise<string[]> {
  const seen: string[] = [];
  while (!wanted.every((one) => seen.includes(one))) {
    const { value, done } = await events.next();
    if (done) throw new Error(`ended after ${seen}`);
    seen.push(...(value as WatchBatch).changes.map(({ type, path }) => `${type} ${path}`));
  }
  return seen;
}

describe("watching", () => {
  it("tells what is created, changed, renamed and deleted, however deep", async () => {
    await mkdir(join(root, "a/b"), { recursive: true });
    await writeFile(join(root, "a/b/old"), "1");
    const events = await open();
    await writeFile(join(root, "a/b/new"), "1");
    await until(events, "created /a/b/new");
    await writeFile(join(root, "a/b/old"), "2");
    await until(events, "changed /a/b/old");
    await rename(join(root, "a/b/old"), join(root, "a/moved"));
    await until(events, "deleted /a/b/old", "created /a/moved");
    await rm(join(root, "a/moved"));
    await until(events, "deleted /a/moved");
  });

  it("follows folders that come later, with what is in them already, and in a folder's place", async () => {
    const events = await open();
    await mkdir(join(root, "x/y/z"), { recursive: true });
    await writeFile(join(root, "x/y/z/file"), "1");
    await until(events, "created /x", "created /x/y/z/file");
    await writeFile(join(root, "x/y/z/file"), "2");
    await until(events, "changed /x/y/z/file");
    await rm(join(root, "x"), { recursive: true });
    await mkdir(join(root, "x"));
    await until(events, "created /x");
    await writeFile(join(root, "x/again"), "1");
    await until(events, "created /x/again");
  });

  it("leaves out what is excluded, at any depth", async () => {
    await mkdir(join(root, "p/node_modules/q"), { recursive: true });
    const events = await open(["**/node_modules/**", ".git", "*.log"]);
    await mkdir(join(root, ".git"));
    await writeFile(join(root, "p/node_modules/q/file"), "1");
    await writeFile(join(root, "p/some.log"), "1");
    await writeFile(join(root, "p/last"), "1");
    expect(await until(events, "created /p/last")).not.toContainEqual(
      expect.stringMatching(/node_modules|\.git|\.log/),
    );
  });

  it("watches a single file, and a folder without what is below", async () => {
    await mkdir(join(root, "deep"));
    await writeFile(join(root, "file"), "1");
    const file = await open([], "/file");
    const folder = await open([], "/", false);
    await writeFile(join(root, "deep/below"), "1");
    await writeFile(join(root, "file"), "2");
    expect(await until(file, "changed /file")).toEqual(["changed /file"]);
    expect(await until(folder, "changed /file")).not.toContain("created /deep/below");
  });

  it("carries names that are no UTF-8", async () => {
    const events = await open();
    await writeFile(Buffer.concat([Buffer.from(`${root}/n`), Buffer.of(0xff)]), "1");
    await until(events, "created /n\udcff");
  });

  it("says that there is nothing to watch", async () => {
    const events = createWatchService(root).watch({ path: "/gone", recursive: true, exclude: [] });
    await expect(events.next()).rejects.toMatchObject({ code: "not_found", message: "path: /gone is not there" });
  });

  it("covers a tree of 100,000 files while everything else goes on", async () => {
    for (let folder = 0; folder < 1000; folder++) {
      mkdirSync(`${root}/d${folder}`);
      for (let file = 0; file < 100; file++) closeSync(openSync(`${root}/d${folder}/f${file}`, "w"));
    }
    const events = createWatchService(root).watch({ path: "/", recursive: true, exclude: [] }, stop.signal);
    let turns = 0;
    let isReady = false;
    const first = events.next().then(() => {
      isReady = true;
    });
    while (!isReady) {
      turns++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await first;
    // In one piece it would have been one turn.
    expect(turns).toBeGreaterThan(2);
    await writeFile(join(root, "d777/f50"), "changed");
    await until(events, "changed /d777/f50");
    await events.return(undefined);
  });
});

// Promise 5 through the whole platform: a store that is full, one whose disk is broken, and one that cannot be written to any
// more, cost the snapshots that do not get there and nothing else.
import { mkdtemp, rm } from "node:fs/promises";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createFailingIo, type FailingIo } from "../packages/storage/src/testing/failing-io.ts";
import { eventually } from "./support/eventually.ts";
import { output } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const stack = disposer();
let disk: FailingDisk;
let io: FailingIo;
let platform: TestPlatform;
beforeAll(async () => {
  disk = await createFailingDisk();
  stack.add(() => disk.remove());
  io = await createFailingIo();
  stack.add(async () => io[Symbol.asyncDispose]());
  // The platform's processes take over what is in the environment when they are started.
  Object.assign(process.env, io.environment(disk.path));
  platform = await startTestPlatform({ poolSize: 0, snapshotStore: { kind: "file", folder: disk.path } });
  stack.add(async () => platform[Symbol.asyncDispose]());
});
afterAll(async () => stack[Symbol.asyncDispose]());

it("a full or failing store: one clear error, the workspace runs on, its last snapshot holds", async () => {
  const workspace = await Workspace.create({ connection: platform.connection });
  await output(workspace, "echo one > state");
  const first = await workspace.snapshot({ name: "first" });
  const write = () => output(workspace, "head -c 60000000 /dev/urandom > noise; sync; echo two > state");
  const expectAsBefore = async () => {
    expect(await output(workspace, "cat state")).toBe("two");
    expect((await workspace.snapshots()).map(({ id }) => id)).toEqual([first.id]);
  };

  await using bounded = await disk.fill(8);
  await write();
  await expect(workspace.snapshot()).rejects.toMatchObject({ code: "resource_exhausted" });
  await expectAsBefore();
  // It would not go to sleep without a durable moment, and serves on.
  await expect(workspace.hibernate()).rejects.toMatchObject({ code: "resource_exhausted" });
  await expectAsBefore();
  await bounded[Symbol.asyncDispose]();

  await io.fail("EIO");
  await expect(workspace.snapshot()).rejects.toThrow(/EIO/);
  await expectAsBefore();
  await expect(workspace.hibernate()).rejects.toThrow(/EIO/);
  await expectAsBefore();
  await io.heal();

  await using failing = await disk.fail();
  await expect(workspace.snapshot()).rejects.toThrow(/EROFS|read-only/);
  await expectAsBefore();
  await failing[Symbol.asyncDispose]();

  const second = await workspace.snapshot({ name: "second" });
  expect((await workspace.snapshots()).map(({ id }) => id)).toEqual([second.id, first.id]);
  await workspace.restore(first.id);
  expect(await output(workspace, "cat state")).toBe("one");
  await workspace.restore(second.id);
  expect(await output(workspace, "cat state")).toBe("two");
  await eventually("it sleeps and wakes again", async () => {
    await workspace.hibernate();
    return (await output(workspace, "cat state")) === "two";
  });
});

/** A file system that can be full, or refuse to be written to as one does whose disk has failed. */
interface FailingDisk {
  path: string;
  /** Leaves room for so many MiB, until the answer is disposed of. */
  fill(leftMib: number): Promise<AsyncDisposable>;
  /** Everything that is written fails, until the answer is disposed of. */
  fail(): Promise<AsyncDisposable>;
  remove(): Promise<void>;
}

async function createFailingDisk(): Promise<FailingDisk> {
  // Below /var/tmp, because machines' users must be able to pass.
  const path = await mkdtemp("/var/tmp/dormouse-disk-");
  await run("mount", ["-t", "tmpfs", "-o", "size=4g,mode=711", "tmpfs", path]);
  const remount = async (options: string) => void (await run("mount", ["-o", `remount,${options}`, path]));
  return {
    path,
    async fill(leftMib) {
      const { stdout } = await run("df", ["--output=used", "--block-size=1M", path]);
      await remount(`size=${Number(stdout.match(/\d+/)?.[0]) + leftMib}m`);
      return { [Symbol.asyncDispose]: () => remount("size=4g") };
    },
    async fail() {
      await remount("ro");
      return { [Symbol.asyncDispose]: () => remount("rw") };
    },
    async remove() {
      await run("umount", [path]);
      await rm(path, { recursive: true });
    },
  };
}

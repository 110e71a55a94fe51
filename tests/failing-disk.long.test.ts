// Promise 5 through the whole platform: a store that is full, and one whose disk fails, cost the snapshots that do not
// fit on it and nothing else.
import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { output } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const stack = disposer();
let disk: FailingDisk;
let platform: TestPlatform;
beforeAll(async () => {
  disk = await createFailingDisk();
  stack.add(() => disk.remove());
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

  const leaveRoom = await disk.fill(8);
  await write();
  await expect(workspace.snapshot()).rejects.toMatchObject({ code: "resource_exhausted" });
  await expectAsBefore();
  // It would not go to sleep without a durable moment, and serves on.
  await expect(workspace.hibernate()).rejects.toMatchObject({ code: "resource_exhausted" });
  await expectAsBefore();
  await leaveRoom();

  const mend = await disk.fail(8);
  // Of a disk that fails, not of one that is full.
  await expect(workspace.snapshot()).rejects.toMatchObject({ code: expect.not.stringMatching("resource_exhausted") });
  await expectAsBefore();
  await mend();

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

/** An ext4 file system whose disk can be made to fail: it lies in memory, in a file that can be kept from growing. */
interface FailingDisk {
  path: string;
  /** Takes all room but so many MiB; answers how to give it back. */
  fill(leftMib: number): Promise<() => Promise<void>>;
  /** Everything that is written beyond so many MiB more fails with EIO; answers how to mend it. */
  fail(leftMib: number): Promise<() => Promise<void>>;
  remove(): Promise<void>;
}

async function createFailingDisk(): Promise<FailingDisk> {
  const undo = disposer();
  // Below /var/tmp, because machines' users must be able to pass.
  const folder = await mkdtemp("/var/tmp/dormouse-disk-");
  await chmod(folder, 0o711);
  undo.add(() => rm(folder, { recursive: true, force: true }));
  const [memory, path] = [join(folder, "memory"), join(folder, "disk")];
  const file = join(memory, "file");
  const enoughMib = 4096;
  await mkdir(memory);
  await mkdir(path);
  await run("mount", ["-t", "tmpfs", "-o", `size=${enoughMib}m`, "tmpfs", memory]);
  undo.add(async () => void (await run("umount", [memory])));
  await run("truncate", ["-s", `${enoughMib - 64}M`, file]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0", file]);
  const mount = () => run("mount", ["-o", "loop", file, path]);
  await mount();
  undo.add(async () => void (await run("umount", [path])));
  const limit = async (mib: number) => run("mount", ["-o", `remount,size=${mib}m`, memory]);
  return {
    path,
    async fill(leftMib) {
      const { stdout } = await run("df", ["--output=avail", "--block-size=1M", path]);
      const ballast = join(path, `ballast-${randomBytes(4).toString("hex")}`);
      await run("fallocate", ["--length", `${Number(stdout.match(/\d+/)?.[0]) - leftMib}MiB`, ballast]);
      return () => rm(ballast);
    },
    async fail(leftMib) {
      await run("sync", ["--file-system", path]);
      const { stdout } = await run("du", ["--block-size=1M", file]);
      await limit(Number.parseInt(stdout, 10) + leftMib);
      return async () => {
        await limit(enoughMib);
        await run("umount", [path]);
        await run("e2fsck", ["-f", "-y", file], { okCodes: [0, 1] });
        await mount();
      };
    },
    remove: async () => undo[Symbol.asyncDispose](),
  };
}

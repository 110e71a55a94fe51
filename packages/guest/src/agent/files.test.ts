import { lstatSync, readdirSync, statSync } from "node:fs";
import { chmod, chown, link, mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createFileService, type FileService } from "./files.ts";

const user = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
let outside: string;
let root: string;
let files: FileService;

beforeEach(async () => {
  outside = await mkdtemp(join(tmpdir(), "dormouse-files-"));
  root = join(outside, "root");
  await mkdir(root);
  files = createFileService(root, () => user);
});
afterEach(() => rm(outside, { recursive: true, force: true }));

const text = (content: string) => Buffer.from(content);
const failure = (call: Promise<unknown>) =>
  call.then(
    () => "no failure",
    (error) => error,
  );
const leftOvers = (folder: string) =>
  readdirSync(folder).filter((name) => name.includes("dormouse-") || name.endsWith(".tmp"));

describe("paths", () => {
  it("never leave the user's root, neither by .. nor by links", async () => {
    await writeFile(join(outside, "secret"), "outside");
    await mkdir(join(root, "secrets"));
    await symlink("/", join(root, "top"));
    await symlink("../../..", join(root, "secrets/up"));
    await symlink(outside, join(root, "absolute"));
    await symlink("../secret", join(root, "relative"));
    for (const path of [
      "/../secret",
      "/top/../secret",
      "/secrets/up/secret",
      "/absolute/secret",
      "/relative",
      "/secrets/../../secret",
    ]) {
      expect(await failure(files.read(path)), path).toMatchObject({ code: "not_found" });
    }
    await files.write("/secrets/up/made", text("inside"), { parents: true });
    expect(await readFile(join(root, "made"), "utf8")).toBe("inside");
    await files.write("/relative", text("through the link"), {});
    expect(await readFile(join(root, "secret"), "utf8")).toBe("through the link");
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("outside");
  });

  it("follow links as the user sees them, and tell what these lead to", async () => {
    await mkdir(join(root, "usr/bin"), { recursive: true });
    await symlink("/usr/bin", join(root, "bin"));
    await writeFile(join(root, "usr/bin/tool"), "tool");
    await symlink("nowhere", join(root, "dangling"));
    expect((await files.read("/bin/tool")).content).toBe(text("tool").toString("base64"));
    expect(await files.stat("/bin")).toMatchObject({ type: "symlink", targetType: "directory", name: "bin" });
    expect(await files.stat("/dangling")).not.toHaveProperty("targetType");
    await symlink("loop-b", join(root, "loop-a"));
    await symlink("loop-a", join(root, "loop-b"));
    expect(await failure(files.read("/loop-a"))).toMatchObject({ code: "failed_precondition" });
  });

  it("may hold any bytes", async () => {
    const name = Buffer.from([0x66, 0xff, 0xe2, 0x82, 0x20, 0x0a]);
    await writeFile(Buffer.concat([Buffer.from(`${root}/`), name]), "strange");
    const { entries } = await files.list("/");
    expect(entries.map((entry) => entry.name)).toEqual(["f\udcff\udce2\udc82 \n"]);
    const path = entries[0]?.path ?? "";
    expect((await files.read(path)).content).toBe(text("strange").toString("base64"));
    await files.copy(path, "/f\udcfe", false);
    await files.rename(path, "/f\udcfd", false);
    expect(
      readdirSync(root, "buffer")
        .map((bytes) => bytes.toString("hex"))
        .sort(),
    ).toEqual(["66fd", "66fe"]);
    await files.remove("/f\udcfd", false);
    await files.remove("/f\udcfe", false);
    expect(readdirSync(root)).toEqual([]);
  });
});

describe("writing", () => {
  it("makes parents, keeps mode and owner of what it replaces, and follows a link to it", async () => {
    const made = await files.write("/a/b/c.sh", text("1"), { parents: true });
    expect(made).toMatchObject({ path: "/a/b/c.sh", type: "file", size: 1, mode: 0o644, ...user });
    await chmod(join(root, "a/b/c.sh"), 0o751);
    if (user.uid === 0) await chown(join(root, "a/b/c.sh"), 1234, 1235);
    await symlink("a/b/c.sh", join(root, "link"));
    await files.write("/link", text("22"), {});
    expect(lstatSync(join(root, "link")).isSymbolicLink()).toBe(true);
    const replaced = await files.stat("/a/b/c.sh");
    expect(replaced).toMatchObject({ size: 2, mode: 0o751, ...(user.uid === 0 ? { uid: 1234, gid: 1235 } : {}) });
    expect(replaced.etag).not.toBe(made.etag);
    expect(leftOvers(join(root, "a/b"))).toEqual([]);
  });

  it("keeps the other names of a file", async () => {
    await writeFile(join(root, "one"), "first and longer");
    await link(join(root, "one"), join(root, "two"));
    await files.write("/one", text("second"), {});
    expect(await readFile(join(root, "two"), "utf8")).toBe("second");
    expect(statSync(join(root, "one")).nlink).toBe(2);
  });

  it("refuses by etag, existence and kind, in words, and changes nothing then", async () => {
    const { etag } = await files.write("/file", text("mine"), {});
    await files.write("/file", text("theirs"), { ifEtag: etag });
    expect(await failure(files.write("/file", text("lost"), { ifEtag: etag }))).toMatchObject({
      code: "aborted",
      message: "path: /file was changed by somebody else meanwhile",
    });
    expect(await failure(files.write("/file", text("x"), { overwrite: false }))).toMatchObject({
      code: "already_exists",
      message: "path: /file is there already",
    });
    expect(await failure(files.write("/new", text("x"), { create: false }))).toMatchObject({ code: "not_found" });
    expect(await failure(files.write("/no/parent", text("x"), { parents: false }))).toMatchObject({
      code: "not_found",
    });
    expect(await failure(files.write("/", text("x"), {}))).toMatchObject({ message: "path: / is a folder" });
    expect(await failure(files.write(`/${"n".repeat(300)}`, text("x"), {}))).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("holds a name of more than 255 bytes"),
    });
    expect(await readFile(join(root, "file"), "utf8")).toBe("theirs");
    expect(readdirSync(root)).toEqual(["file"]);
  });

  it("leaves nothing behind when the content breaks off", async () => {
    await files.write("/file", text("old"), {});
    const broken = files.replace("/file", {}, async (file) => {
      await writeFile(file, "half");
      throw Object.assign(new Error("full"), { code: "ENOSPC" });
    });
    expect(await failure(broken)).toMatchObject({
      code: "resource_exhausted",
      message: "path: /file could not be written: the machine's disk is full",
    });
    expect(await readFile(join(root, "file"), "utf8")).toBe("old");
    expect(readdirSync(root)).toEqual(["file"]);
  });

  it.runIf(user.uid === 0)(
    "gives what is made to the user where the user may write, elsewhere to the folder's owner",
    async () => {
      const owner = createFileService(root, () => ({ uid: 4321, gid: 4322 }));
      await mkdir(join(root, "system"), { mode: 0o755 });
      await mkdir(join(root, "tmp"));
      await chmod(join(root, "tmp"), 0o1777);
      expect(await owner.write("/system/file", text("x"), {})).toMatchObject({ uid: 0, gid: 0 });
      expect(await owner.write("/tmp/file", text("x"), {})).toMatchObject({ uid: 4321, gid: 4322 });
      expect(await owner.makeDirectory("/tmp/a/b", true)).toMatchObject({ uid: 4321 });
    },
  );
});

describe("reading", () => {
  it("refuses what is no file, and what no message carries", async () => {
    await mkdir(join(root, "folder"));
    await writeFile(join(root, "big"), "");
    await truncate(join(root, "big"), 32 * 1024 * 1024 + 1);
    expect(await failure(files.read("/folder"))).toMatchObject({
      code: "failed_precondition",
      message: "path: /folder is a folder",
    });
    expect(await failure(files.read("/big"))).toMatchObject({
      code: "resource_exhausted",
      message: expect.stringContaining("file route"),
    });
    expect(await failure(files.read("/gone"))).toMatchObject({
      code: "not_found",
      message: "path: /gone is not there",
    });
    expect(await failure(files.list("/big"))).toMatchObject({ code: "not_found" });
    const { execFileSync } = await import("node:child_process");
    execFileSync("mkfifo", [join(root, "pipe")]);
    expect(await failure(files.read("/pipe"))).toMatchObject({ message: "path: /pipe is no regular file" });
  });

  it("reads the kernel's files, whose size is said to be 0", async () => {
    const all = createFileService("", () => user);
    expect(Buffer.from((await all.read("/proc/self/status")).content, "base64").toString()).toContain("Name:");
  });
});

describe("moving, copying, removing", () => {
  it("copies a tree with modes and links, and not into itself", async () => {
    await files.write("/tree/sub/run", text("#!"), { mode: 0o755, parents: true });
    await symlink("sub/run", join(root, "tree/link"));
    await files.copy("/tree", "/copy", false);
    expect(statSync(join(root, "copy/sub/run")).mode & 0o777).toBe(0o755);
    expect(lstatSync(join(root, "copy/link")).isSymbolicLink()).toBe(true);
    expect(await failure(files.copy("/tree", "/tree/sub/again", false))).toMatchObject({
      message: "to: /tree/sub/again lies inside of from",
    });
    expect(await failure(files.copy("/tree", "/copy", false))).toMatchObject({ code: "already_exists" });
    expect(await failure(files.copy("/gone", "/x", false))).toMatchObject({ message: "from: /gone is not there" });
  });

  it("renames over something only when asked to", async () => {
    await files.write("/a", text("a"), {});
    await files.write("/b/c", text("b"), { parents: true });
    expect(await failure(files.rename("/a", "/b", false))).toMatchObject({ message: "to: /b is there already" });
    expect(await files.rename("/a", "/b", true)).toMatchObject({ path: "/b", type: "file" });
    expect(await files.exists("/a")).toBe(false);
    expect(await files.exists("/b/c")).toBe(false);
  });

  it("removes a folder with something in it only when asked to, a link alone, and never all", async () => {
    await files.write("/keep/file", text("x"), { parents: true });
    await symlink("keep", join(root, "link"));
    await files.remove("/link", true);
    expect(await files.exists("/keep/file")).toBe(true);
    expect(await failure(files.remove("/keep", false))).toMatchObject({
      code: "failed_precondition",
      message: "path: /keep is a folder that is not empty",
    });
    await files.remove("/keep", true);
    expect(await failure(files.remove("/keep", true))).toMatchObject({ code: "not_found" });
    expect(await failure(files.remove("/", true))).toMatchObject({ message: "path: / cannot be removed" });
    expect(await failure(files.remove("/..", true))).toMatchObject({ message: "path: / cannot be removed" });
  });
});

import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inspectRepository } from "./inspect.ts";
import { packRepository } from "./pack.ts";
import { unpackEnvironment, unpackScript } from "./unpack.ts";

let scratch: string;
let home: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "dormouse-local-"));
  home = join(scratch, "home");
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

async function git(folder: string, ...args: string[]): Promise<string> {
  const identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"];
  const { stdout } = await run("git", [...identity, "-c", "protocol.file.allow=always", "-C", folder, ...args]);
  return stdout.trimEnd();
}

async function makeRepository(): Promise<string> {
  await mkdir(home, { recursive: true });
  await git(home, "init", "-q", ".");
  await writeFile(join(home, ".gitignore"), "ignored\n");
  for (const name of ["kept", "changed", "deleted", "moved"]) await writeFile(join(home, name), `${name}\n`);
  await git(home, "add", ".");
  await git(home, "commit", "-qm", "first");
  await git(home, "branch", "other");
  await git(home, "tag", "v1");
  return home;
}

/** Packs `home` and unpacks it as the machine does, here. */
async function bring(options: { path?: string; ref?: string } = {}): Promise<string> {
  const source = await inspectRepository(options.path ?? home, options.ref);
  await using packed = await packRepository(source);
  const remote = await mkdtemp(join(scratch, "remote-"));
  const folder = join(await mkdtemp(join(scratch, "workspaces-")), "there");
  await writeFile(join(remote, "config"), packed.config);
  if (source.shallow) await writeFile(join(remote, "shallow"), source.shallow);
  if (packed.bundleFile) await copyFile(packed.bundleFile, join(remote, "bundle"));
  const env = { ...process.env, ...unpackEnvironment(source, { remote, folder, hasChanges: packed.hasChanges }) };
  await run("sh", ["-c", unpackScript], { env });
  expect(await readdir(scratch)).not.toContain(remote);
  expect(await git(folder, "for-each-ref", "refs/dormouse")).toBe("");
  return folder;
}

const status = (folder: string) => git(folder, "status", "--porcelain=v1", "--branch", "--ignored");

test("brings branches, tags, and everything that is not committed, staged as staged", async () => {
  await makeRepository();
  await writeFile(join(home, "changed"), "changed more\n");
  await rm(join(home, "deleted"));
  await git(home, "mv", "moved", "renamed");
  await writeFile(join(home, "staged"), "staged\n");
  await git(home, "add", "staged");
  await writeFile(join(home, "staged"), "staged, and changed again\n");
  await mkdir(join(home, "new folder"));
  await writeFile(join(home, "new folder/untracked ü"), "new\n", { mode: 0o755 });
  await writeFile(join(home, "ignored"), "stays\n");
  const before = await git(home, "count-objects", "-v");

  const there = await bring();

  const lines = (await status(home)).split("\n").filter((line) => line !== "!! ignored");
  expect((await status(there)).split("\n")).toEqual(lines);
  expect(lines.length).toBeGreaterThan(5);
  expect(await git(there, "diff")).toBe(await git(home, "diff"));
  expect(await git(there, "diff", "--cached")).toBe(await git(home, "diff", "--cached"));
  expect(await readFile(join(there, "new folder/untracked ü"), "utf8")).toBe("new\n");
  expect(await git(there, "for-each-ref")).toBe(await git(home, "for-each-ref"));
  expect(await git(home, "count-objects", "-v")).toBe(before);
});

test("brings the remote's address without its password, upstreams and the author", async () => {
  await makeRepository();
  const origin = join(scratch, "origin.git");
  await run("git", ["clone", "-q", "--bare", home, origin]);
  await git(home, "remote", "add", "origin", origin);
  await git(home, "fetch", "-q", "origin");
  await git(home, "branch", "-q", "--set-upstream-to=origin/main");
  await git(home, "config", "user.name", 'Ada "Countess"');
  await git(home, "config", "user.email", "ada@example.com");
  await git(home, "remote", "set-url", "origin", "https://ada:secret@git.example/x.git");

  const there = await bring();

  expect(await git(there, "remote", "get-url", "origin")).toBe("https://git.example/x.git");
  expect(await git(there, "status", "--porcelain", "--branch")).toBe("## main...origin/main");
  expect((await run("git", ["-C", there, "config", "user.name"])).stdout).toBe('Ada "Countess"\n');
});

test("checks out another ref, and leaves what is not committed at home", async () => {
  await makeRepository();
  await git(home, "commit", "-qm", "second", "--allow-empty");
  await writeFile(join(home, "kept"), "not committed\n");
  const other = await bring({ ref: "other" });
  expect(await status(other)).toBe("## other");
  expect(await git(other, "rev-parse", "HEAD")).toBe(await git(home, "rev-parse", "other"));
  const tag = await bring({ ref: "v1" });
  expect(await status(tag)).toBe("## HEAD (no branch)");
  expect(await git(tag, "rev-parse", "HEAD")).toBe(await git(home, "rev-parse", "v1"));
  const same = await bring({ ref: "main" });
  expect(await status(same)).toBe("## main\n M kept");
});

test("a detached head, a linked worktree, and a subfolder are opened as they are", async () => {
  await makeRepository();
  await git(home, "checkout", "-q", "--detach");
  await git(home, "commit", "-qm", "on no branch", "--allow-empty");
  await writeFile(join(home, "kept"), "changed\n");
  const detached = await bring();
  expect(await status(detached)).toBe("## HEAD (no branch)\n M kept");
  expect(await git(detached, "log", "-1", "--format=%s")).toBe("on no branch");
  const linked = join(scratch, "linked");
  await git(home, "worktree", "add", "-q", linked, "other");
  await mkdir(join(linked, "sub"));
  await writeFile(join(linked, "sub/new"), "new\n");
  expect(await status(await bring({ path: join(linked, "sub") }))).toBe("## other\n?? sub/");
});

test("a shallow clone works without what is not there", async () => {
  await makeRepository();
  await git(home, "commit", "-qm", "second", "--allow-empty");
  const shallow = join(scratch, "shallow");
  await run("git", ["clone", "-q", "--depth=1", `file://${home}`, shallow]);
  await writeFile(join(shallow, "kept"), "changed\n");
  const there = await bring({ path: shallow });
  expect(await git(there, "log", "--format=%s")).toBe("second");
  expect(await git(there, "status", "--porcelain")).toBe(" M kept");
});

test("a repository without a commit keeps its branch and its files", async () => {
  await mkdir(home);
  await git(home, "init", "-q", "-b", "fresh", ".");
  expect(await status(await bring())).toBe("## No commits yet on fresh");
  await writeFile(join(home, "new"), "new\n");
  await writeFile(join(home, "staged"), "staged\n");
  await git(home, "add", "staged");
  expect(await status(await bring())).toBe("## No commits yet on fresh\nA  staged\n?? new");
});

test("a conflict comes as changed files", async () => {
  await makeRepository();
  await writeFile(join(home, "kept"), "ours\n");
  await git(home, "commit", "-qam", "ours");
  await git(home, "checkout", "-q", "other");
  await writeFile(join(home, "kept"), "theirs\n");
  await git(home, "commit", "-qam", "theirs");
  await run("git", ["-C", home, "-c", "user.name=A", "-c", "user.email=a@b", "merge", "main"], { okCodes: [1] });
  const there = await bring();
  expect(await readFile(join(there, "kept"), "utf8")).toBe(await readFile(join(home, "kept"), "utf8"));
  expect(await status(there)).toBe("## other\n M kept");
});

test("a bare repository is opened without changes", async () => {
  await makeRepository();
  const bare = join(scratch, "project.git");
  await run("git", ["clone", "-q", "--bare", home, bare]);
  expect((await inspectRepository(bare, undefined)).name).toBe("project");
  expect(await status(await bring({ path: bare }))).toBe("## main");
});

test("what is no repository and refs that are not there are refused by name", async () => {
  await mkdir(home);
  await expect(inspectRepository(home, undefined)).rejects.toMatchObject({
    code: "failed_precondition",
    message: `${home} is not a git repository; \`git init\` makes it one`,
  });
  await makeRepository();
  await expect(inspectRepository(home, "nowhere")).rejects.toMatchObject({
    code: "not_found",
    message: `${home} has no branch, tag or commit "nowhere"`,
  });
  await expect(inspectRepository(home, "--output=x")).rejects.toMatchObject({ code: "not_found" });
  await expect(inspectRepository(join(home, "kept"), undefined)).rejects.toThrow("is a file");
});

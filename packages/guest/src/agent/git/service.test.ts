import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fromRpcError } from "@dormouse/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { collect, startTestAgent, type TestAgent } from "../test-agent.ts";

let agent: TestAgent;
let server: Server;
let serverUrl: string;
let folder: string;
let cwd: string;
let remote: string;
let round = 0;

/** What `/locked.git`, which is {@link remote}, is read with. */
const unlocked = `Basic ${Buffer.from("ada:hunter2 'quoted'").toString("base64")}`;

const identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
const git = (where: string, ...args: string[]) =>
  execFileSync("git", [...identity, ...args], {
    cwd: where,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }).trim();
const write = (path: string, content: string) => writeFile(join(cwd, path), content);
const failure = async (call: Promise<unknown>) =>
  fromRpcError(
    await call.then(
      () => "no failure",
      (error) => error,
    ),
  );
/** Reads a stream to its end; answers what it returned. */
async function finish<T>(stream: Promise<AsyncIterator<unknown, T>>): Promise<T> {
  const iterator = await stream;
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return value as T;
  }
}

beforeAll(async () => {
  agent = await startTestAgent();
  server = createServer((request, response) => {
    const [, file] = /^\/locked\.git\/([^?]*)/.exec(request.url ?? "") ?? [];
    if (file !== undefined && request.headers.authorization === unlocked) {
      const path = join(remote, file);
      if (existsSync(path)) return void createReadStream(path).pipe(response);
    }
    const isLocked = file !== undefined && request.headers.authorization !== unlocked;
    const status =
      isLocked || request.url?.startsWith("/private") ? 401 : request.url?.startsWith("/forbidden") ? 403 : 404;
    response.writeHead(status, status === 401 ? { "www-authenticate": 'Basic realm="test"' } : {}).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  serverUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await agent[Symbol.asyncDispose]();
});

beforeEach(async () => {
  folder = join(agent.folder, `git-${round++}`);
  cwd = join(folder, "work");
  remote = join(folder, "remote.git");
  await mkdir(folder);
  git(folder, "init", "--quiet", "--bare", "--initial-branch=main", remote);
  git(folder, "clone", "--quiet", remote, cwd);
  git(cwd, "config", "user.name", "Test");
  git(cwd, "config", "user.email", "test@example.org");
  git(cwd, "checkout", "--quiet", "-B", "main");
  await write("README", "one\n");
  git(cwd, "add", ".");
  git(cwd, "commit", "--quiet", "-m", "First\n\nwith a body");
  git(cwd, "push", "--quiet", "-u", "origin", "main");
});

describe("looking", () => {
  it("tells every state a file can be in, whatever its name", async () => {
    for (const name of ["renamed", "deleted", "staged", "both"]) await write(name, `${name}\n`.repeat(10));
    git(cwd, "add", ".");
    git(cwd, "commit", "--quiet", "-m", "Second");
    git(cwd, "mv", "renamed", "new name");
    await rm(join(cwd, "deleted"));
    await write("staged", "x\n");
    git(cwd, "add", "staged");
    await write("both", "x\n");
    git(cwd, "add", "both");
    await write("both", "y\n");
    await write('odd "näme"\n\t', "x");
    await writeFile(Buffer.concat([Buffer.from(`${cwd}/b`), Buffer.of(0xff)]), "x");
    const status = await agent.client.git.status({ cwd });
    expect(status).toMatchObject({
      root: cwd,
      branch: "main",
      upstream: "origin/main",
      ahead: 1,
      behind: 0,
      operation: null,
    });
    expect(status.head).toBe(git(cwd, "rev-parse", "HEAD"));
    const states = Object.fromEntries(status.files.map(({ path, index, worktree }) => [path, index + worktree]));
    expect(states).toEqual({
      "new name": "R.",
      deleted: ".D",
      staged: "M.",
      both: "MM",
      'odd "näme"\n\t': "??",
      "b\udcff": "??",
    });
    expect(status.files.find(({ path }) => path === "new name")?.originalPath).toBe("renamed");
  });

  it("counts what no remote has: commits of all branches, and stashes", async () => {
    const unpushed = () => agent.client.git.unpushed({ cwd });
    expect(await unpushed()).toEqual({ commits: 0, stashes: 0 });
    await write("new", "one");
    git(cwd, "add", ".");
    git(cwd, "commit", "--quiet", "-m", "Second");
    git(cwd, "checkout", "--quiet", "-b", "topic");
    git(cwd, "commit", "--quiet", "--allow-empty", "-m", "Third");
    git(cwd, "checkout", "--quiet", "--detach");
    git(cwd, "commit", "--quiet", "--allow-empty", "-m", "On no branch");
    await write("new", "two");
    git(cwd, "stash", "--quiet");
    expect(await unpushed()).toEqual({ commits: 3, stashes: 1 });
    git(cwd, "checkout", "--quiet", "topic");
    git(cwd, "push", "--quiet", "origin", "main", "topic");
    expect(await unpushed()).toEqual({ commits: 0, stashes: 1 });
    const fresh = join(folder, `fresh-${round}`);
    await mkdir(fresh);
    await agent.client.git.init({ cwd: fresh });
    expect(await agent.client.git.unpushed({ cwd: fresh })).toEqual({ commits: 0, stashes: 0 });
  });

  it("works from a folder inside, finds repositories below, and refuses where there is none", async () => {
    await mkdir(join(cwd, "in/side"), { recursive: true });
    expect((await agent.client.git.status({ cwd: join(cwd, "in/side") })).root).toBe(cwd);
    expect((await agent.client.git.discover({ path: folder })).roots).toEqual([cwd]);
    expect(await failure(agent.client.git.status({ cwd: "/proc" }))).toMatchObject({
      code: "failed_precondition",
      details: { reason: "not_a_repository" },
    });
  });

  it("shows differences, files of commits and of the index, branches and the log", async () => {
    await write("README", "two\n");
    expect((await agent.client.git.diff({ cwd })).patch).toContain("-one\n+two\n");
    expect((await agent.client.git.diff({ cwd, staged: true })).patch).toBe("");
    git(cwd, "add", ".");
    expect((await agent.client.git.diff({ cwd, staged: true, path: "README" })).patch).toContain("+two");
    const show = async (ref: string, path = "README") =>
      Buffer.from((await agent.client.git.show({ cwd, ref, path })).content, "base64").toString();
    expect(await show("HEAD")).toBe("one\n");
    expect(await show(":")).toBe("two\n");
    expect(await failure(show("HEAD", "gone"))).toMatchObject({
      code: "not_found",
      message: "path: gone is not in HEAD",
    });
    expect(await failure(show("--exec=x"))).toMatchObject({ code: "invalid_argument" });
    git(cwd, "branch", "topic");
    const { branches } = await agent.client.git.branches({ cwd });
    expect(branches.map(({ name, remote: isRemote, current }) => [name, isRemote, current]).sort()).toEqual([
      ["main", false, true],
      ["origin/main", true, false],
      ["topic", false, false],
    ]);
    git(cwd, "commit", "--quiet", "-m", "Second");
    const { commits } = await agent.client.git.log({ cwd });
    expect(commits).toMatchObject([
      { subject: "Second", body: "", author: "Test", email: "test@example.org", refs: ["HEAD -> main"] },
      { subject: "First", body: "with a body", parents: [] },
    ]);
    expect(commits[0]?.parents).toEqual([commits[1]?.hash]);
    expect((await agent.client.git.log({ cwd, limit: 1, skip: 1 })).commits).toMatchObject([{ subject: "First" }]);
    expect((await agent.client.git.log({ cwd, path: "nothing" })).commits).toEqual([]);
  });
});

describe("changing", () => {
  it("puts a part of a change into the index, and leaves the file and its mode alone", async () => {
    await writeFile(join(cwd, "tool"), "a\nb\nc\n", { mode: 0o755 });
    git(cwd, "add", ".");
    git(cwd, "commit", "--quiet", "-m", "Tool");
    await write("tool", "A\nb\nC\n");
    const content = Buffer.from("A\nb\nc\n").toString("base64");
    await agent.client.git.stageContent({ cwd, path: "tool", content });
    expect(git(cwd, "show", ":tool")).toBe("A\nb\nc");
    expect(await readFile(join(cwd, "tool"), "utf8")).toBe("A\nb\nC\n");
    expect(git(cwd, "ls-files", "--stage", "tool")).toMatch(/^100755 /);
    await agent.client.git.stageContent({ cwd, path: "new", content: "" });
    expect(git(cwd, "ls-files", "--stage", "new")).toMatch(/^100644 /);
    expect(await failure(agent.client.git.stageContent({ cwd, path: "../out", content }))).toMatchObject({
      code: "failed_precondition",
    });
  });

  it("tells who wrote each line, also of what is typed and not saved", async () => {
    await write("README", "one\ntwo\n");
    git(cwd, "commit", "--quiet", "-am", "Second");
    await write("README", "one\nnew\ntwo\n");
    const saved = await agent.client.git.blame({ cwd, path: "README" });
    const subjects = saved.lines.map((index) => saved.commits[index]?.subject ?? null);
    expect(subjects).toEqual(["First", null, "Second"]);
    expect(saved.commits).toMatchObject([
      { author: "Test", email: "test@example.org", hash: git(cwd, "rev-parse", "HEAD~") },
      { hash: git(cwd, "rev-parse", "HEAD") },
    ]);
    const typed = await agent.client.git.blame({ cwd, path: "README", content: Buffer.from("two").toString("base64") });
    expect(typed.lines).toHaveLength(1);
    expect(await failure(agent.client.git.blame({ cwd, path: "none" }))).toMatchObject({ code: "not_found" });
  });

  it("puts changes away and brings them back, each by a name that stays", async () => {
    await write("README", "first\n");
    await write("untracked", "x");
    await agent.client.git.stash({ cwd, message: "the first" });
    expect(git(cwd, "status", "--porcelain")).toBe("?? untracked");
    await write("README", "second\n");
    await agent.client.git.stash({ cwd, untracked: true });
    expect(git(cwd, "status", "--porcelain")).toBe("");
    const { stashes } = await agent.client.git.stashes({ cwd });
    expect(stashes.map(({ message }) => message)).toEqual([
      expect.stringContaining("WIP on main"),
      "On main: the first",
    ]);
    const [newer = { hash: "" }, older = { hash: "" }] = stashes;
    await agent.client.git.dropStash({ cwd, hash: newer.hash });
    await agent.client.git.unstash({ cwd, hash: older.hash, keep: true });
    expect(await readFile(join(cwd, "README"), "utf8")).toBe("first\n");
    git(cwd, "checkout", "--quiet", ".");
    await agent.client.git.unstash({ cwd, hash: older.hash });
    expect((await agent.client.git.stashes({ cwd })).stashes).toEqual([]);
    expect(await failure(agent.client.git.unstash({ cwd, hash: older.hash }))).toMatchObject({ code: "not_found" });
    git(cwd, "checkout", "--quiet", ".");
    expect(await failure(agent.client.git.stash({ cwd }))).toMatchObject({
      details: { reason: "nothing_to_commit" },
    });
  });

  it("talks to a locked remote with a credential that it keeps nowhere", async () => {
    git(remote, "update-server-info");
    git(cwd, "remote", "set-url", "origin", `${serverUrl}/locked.git`);
    const refused = await failure(finish(agent.client.git.fetch({ cwd })));
    expect(refused).toMatchObject({ details: { reason: "authentication" } });
    const credential = { username: "ada", password: "hunter2 'quoted'" };
    await finish(agent.client.git.fetch({ cwd, credential }));
    await finish(agent.client.git.pull({ cwd, credential }));
    expect(await readFile(join(cwd, ".git/config"), "utf8")).not.toContain("hunter2");
  });

  it("stages, unstages, commits, amends and discards, also before the first commit", async () => {
    const fresh = join(folder, "fresh");
    await mkdir(fresh);
    await agent.client.git.init({ cwd: fresh });
    for (const where of [cwd, fresh]) {
      const states = async () =>
        (await agent.client.git.status({ cwd: where })).files.map((file) => file.path + file.index + file.worktree);
      await writeFile(join(where, "new *"), "x");
      await agent.client.git.stage({ cwd: where, paths: ["new *"] });
      expect(await states()).toEqual(["new *A."]);
      await agent.client.git.unstage({ cwd: where, paths: ["new *"] });
      expect(await states()).toEqual(["new *??"]);
      await agent.client.git.discard({ cwd: where, paths: ["new *"] });
      expect(await states()).toEqual([]);
    }
    expect((await agent.client.git.log({ cwd: fresh })).commits).toEqual([]);
    expect((await agent.client.git.status({ cwd: fresh })).head).toBeNull();
    await write("README", "changed\n");
    await agent.client.git.discard({ cwd, paths: ["README"] });
    expect(await readFile(join(cwd, "README"), "utf8")).toBe("one\n");
    await write("README", "changed\n");
    const { hash } = await agent.client.git.commit({ cwd, message: "# no comment\n\nText", all: true });
    expect(git(cwd, "log", "-1", "--format=%H %s")).toBe(`${hash} # no comment`);
    await agent.client.git.commit({ cwd, message: "Better", amend: true });
    expect(git(cwd, "log", "--format=%s")).toBe("Better\nFirst");
  });

  it("names the reason of what git refuses", async () => {
    const reasonOf = async (call: Promise<unknown>) => (await failure(call)).details.reason;
    expect(await reasonOf(agent.client.git.commit({ cwd, message: "x" }))).toBe("nothing_to_commit");
    expect(await failure(agent.client.git.commit({ cwd, message: " " }))).toMatchObject({
      message: "message: a commit needs one",
    });
    expect(await reasonOf(agent.client.git.checkout({ cwd, ref: "no-such-branch" }))).toBe("reference_not_found");
    expect(await reasonOf(agent.client.git.checkout({ cwd, ref: "README" }))).toBe("reference_not_found");
    await agent.client.git.checkout({ cwd, ref: "topic", create: true });
    await write("README", "topic\n");
    git(cwd, "commit", "--quiet", "-am", "Topic");
    expect(await reasonOf(finish(agent.client.git.push({ cwd })))).toBe("no_upstream");
    expect(await reasonOf(finish(agent.client.git.pull({ cwd })))).toBe("no_upstream");
    await agent.client.git.checkout({ cwd, ref: "main" });
    await write("README", "dirty\n");
    expect(await reasonOf(agent.client.git.checkout({ cwd, ref: "topic" }))).toBe("dirty_worktree");
    git(cwd, "commit", "--quiet", "-am", "Main");
    git(cwd, "branch", "--set-upstream-to=topic");
    expect(await reasonOf(finish(agent.client.git.pull({ cwd })))).toBe("conflict");
    const status = await agent.client.git.status({ cwd });
    expect(status).toMatchObject({
      operation: "merge",
      files: [{ path: "README", conflicted: true, index: "U", worktree: "U" }],
    });
    expect(await failure(agent.client.git.deleteBranch({ cwd, name: "topic" }))).toMatchObject({
      code: "failed_precondition",
    });
    await agent.client.git.deleteBranch({ cwd, name: "topic", force: true });
    git(cwd, "config", "user.useConfigOnly", "true");
    git(cwd, "config", "--unset", "user.email");
    await write("README", "resolved\n");
    const env = await agent.client.exec.run({ command: "git config --global user.email" });
    if (env.exitCode !== 0)
      expect(await reasonOf(agent.client.git.commit({ cwd, message: "x", all: true }))).toBe("identity_missing");
  });

  it("pushes, fetches, pulls, and says when the remote is ahead", async () => {
    const other = join(folder, "other");
    git(folder, "clone", "--quiet", remote, other);
    await writeFile(join(other, "theirs"), "x");
    git(other, "add", ".");
    git(other, "commit", "--quiet", "-m", "Theirs");
    git(other, "push", "--quiet");
    await write("mine", "x");
    git(cwd, "add", ".");
    git(cwd, "commit", "--quiet", "-m", "Mine");
    expect(await failure(finish(agent.client.git.push({ cwd })))).toMatchObject({
      code: "aborted",
      details: { reason: "rejected" },
    });
    await finish(agent.client.git.fetch({ cwd }));
    expect(await agent.client.git.status({ cwd })).toMatchObject({ ahead: 1, behind: 1 });
    const { head } = await finish(agent.client.git.pull({ cwd, rebase: true }));
    expect(head).toBe(git(cwd, "rev-parse", "HEAD"));
    await finish(agent.client.git.push({ cwd }));
    await agent.client.git.checkout({ cwd, ref: "feature", create: true });
    await finish(agent.client.git.push({ cwd, setUpstream: true }));
    expect(await agent.client.git.status({ cwd })).toMatchObject({ upstream: "origin/feature", ahead: 0, behind: 0 });
    // A branch of the remote alone is checked out by its name.
    git(other, "push", "--quiet", "origin", "HEAD:only-there");
    await finish(agent.client.git.fetch({ cwd }));
    await agent.client.git.checkout({ cwd, ref: "only-there" });
    expect((await agent.client.git.status({ cwd })).upstream).toBe("origin/only-there");
  });
});

describe("cloning", () => {
  it("tells its progress and what is checked out: a branch, a tag, a commit, a full name", async () => {
    const first = git(cwd, "rev-parse", "HEAD");
    git(cwd, "tag", "v1");
    git(cwd, "checkout", "--quiet", "-b", "topic");
    await write("README", "topic\n");
    git(cwd, "commit", "--quiet", "-am", "Topic");
    git(cwd, "push", "--quiet", "origin", "topic", "v1", "HEAD:refs/pull/7/head");
    const topic = git(cwd, "rev-parse", "HEAD");
    const cases = [
      undefined,
      "topic",
      "v1",
      first,
      first.slice(0, 10),
      "refs/pull/7/head",
      "refs/heads/topic",
    ] as const;
    const heads = [first, topic, first, first, first, topic, topic];
    for (const [index, ref] of cases.entries()) {
      const path = join(folder, "deep", `clone-${index}`);
      const { head } = await finish(agent.client.git.clone({ url: `file://${remote}`, path, ...(ref ? { ref } : {}) }));
      expect([ref, head]).toEqual([ref, heads[index]]);
      expect((await agent.client.git.status({ cwd: path })).files).toEqual([]);
    }
    const steps = await collect(
      await agent.client.git.clone({ url: `file://${remote}`, path: join(folder, "steps"), depth: 1 }),
    );
    expect(steps.length).toBeGreaterThan(0);
    expect(git(join(folder, "steps"), "rev-list", "--count", "HEAD")).toBe("1");
  });

  it("shows a credential to the server that asks for it, and keeps it nowhere", async () => {
    git(remote, "update-server-info");
    const path = join(folder, "unlocked");
    const url = `${serverUrl}/locked.git`;
    const credential = { username: "ada", password: "hunter2 'quoted'" };
    const wrong = { ...credential, password: "hunter3" };
    for (const refused of [undefined, wrong]) {
      const error = await failure(
        finish(agent.client.git.clone({ url, path, ...(refused && { credential: refused }) })),
      );
      expect(error.details.reason).toBe("authentication");
      expect(error.message).not.toContain("hunter");
    }
    const { head } = await finish(agent.client.git.clone({ url, path, credential }));
    expect(head).toBe(git(remote, "rev-parse", "HEAD"));
    expect(spawnSync("grep", ["-rl", "hunter2", path], { encoding: "utf8" }).stdout).toBe("");
  });

  it("takes an empty repository, and an empty folder that is there", async () => {
    const empty = join(folder, "empty.git");
    git(folder, "init", "--quiet", "--bare", empty);
    const path = join(folder, "into");
    await mkdir(path);
    expect(await finish(agent.client.git.clone({ url: empty, path }))).toEqual({ head: null });
    expect(await agent.client.git.status({ cwd: path })).toMatchObject({ head: null, files: [] });
  });

  it("gives one clear line and leaves nothing when it cannot", async () => {
    const path = join(folder, "failed");
    const cases: [string, string | undefined, string, string][] = [
      [join(folder, "no-such.git"), undefined, "not_found", "repository_not_found"],
      [`${serverUrl}/nothing.git`, undefined, "not_found", "repository_not_found"],
      [`${serverUrl}/private.git`, undefined, "permission_denied", "authentication"],
      [
        `${serverUrl.replace("//", "//someone:hunter2@")}/private.git`,
        undefined,
        "permission_denied",
        "authentication",
      ],
      [`${serverUrl}/forbidden.git`, undefined, "permission_denied", "authentication"],
      ["http://127.0.0.1:1/x.git", undefined, "unavailable", "network"],
      ["http://no-such-host.invalid/x.git", undefined, "unavailable", "network"],
      [`file://${remote}`, "no-such-branch", "not_found", "reference_not_found"],
      [`file://${remote}`, "0123456789abcdef0123456789abcdef01234567", "not_found", "reference_not_found"],
      [`file://${remote}`, "refs/pull/9/head", "not_found", "reference_not_found"],
    ];
    for (const [url, ref, code, reason] of cases) {
      const error = await failure(finish(agent.client.git.clone({ url, path, ...(ref ? { ref } : {}) })));
      expect([url, ref, error.code, error.details.reason]).toEqual([url, ref, code, reason]);
      expect(error.message).not.toMatch(/\n|hunter2/);
      expect(existsSync(path), `${url} left something`).toBe(false);
    }
    await mkdir(path);
    await failure(finish(agent.client.git.clone({ url: `file://${remote}`, path, ref: "gone" })));
    expect(readdirSync(path)).toEqual([]);
    expect(await failure(finish(agent.client.git.clone({ url: remote, path: cwd })))).toMatchObject({
      code: "already_exists",
      message: `path: ${cwd} is there already and is not empty`,
    });
    expect(await failure(finish(agent.client.git.clone({ url: "--upload-pack=x", path })))).toMatchObject({
      code: "invalid_argument",
    });
  });

  it("ends and leaves nothing when its caller leaves", async () => {
    // A remote that takes the connection and never answers.
    const silent = createServer(() => {});
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const path = join(folder, "left");
    const leaving = new AbortController();
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/x.git`;
    const asked = once(silent, "request");
    const call = finish(agent.client.git.clone({ url, path }, { signal: leaving.signal })).catch((error) => error);
    await asked;
    leaving.abort();
    await call;
    await expect.poll(() => existsSync(path), { timeout: 10_000 }).toBe(false);
    silent.closeAllConnections();
    silent.close();
  });
});

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createId, createLogger, DormouseError, disposer, formatBytes, formatDuration, isId } from "./index.ts";
import { contentHash, run, writeFileAtomic } from "./node.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-base-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("ids", () => {
  it("are unique DNS labels that their own check accepts", () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => createId("ws")));
    expect(ids.size).toBe(10_000);
    for (const id of ids) {
      expect(id).toMatch(/^ws-[0-9a-z]{20}$/);
      expect(isId("ws", id)).toBe(true);
    }
    expect(isId("ws", "ws-short")).toBe(false);
    expect(isId("ws", createId("key"))).toBe(false);
  });
});

describe("disposer", () => {
  it("gives everything back in reverse, also when one fails", async () => {
    const order: number[] = [];
    const stack = disposer();
    stack.add(() => void order.push(1));
    stack.add(() => {
      throw new Error("two failed");
    });
    stack.add(() => void order.push(3));
    await expect(stack[Symbol.asyncDispose]()).rejects.toThrow("two failed");
    expect(order).toEqual([3, 1]);
  });

  it("keeps what was released", async () => {
    const stack = disposer();
    let cleaned = false;
    stack.add(() => {
      cleaned = true;
    });
    stack.release();
    await stack[Symbol.asyncDispose]();
    expect(cleaned).toBe(false);
  });
});

describe("logger", () => {
  it("never writes a field named like a secret, at any depth", () => {
    const lines: string[] = [];
    const log = createLogger({ write: (line) => lines.push(line) });
    log.info("signed in", { token: "canary-1", user: { apiKey: "canary-2", name: "ada" } });
    log.debug("not at this level");
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain("canary");
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ message: "signed in", user: { name: "ada" } });
  });
});

describe("formats", () => {
  it("reads well", () => {
    expect(formatBytes(1536)).toBe("1.5 KiB");
    expect(formatBytes(300 * 1024 * 1024)).toBe("300 MiB");
    expect(formatDuration(950)).toBe("950 ms");
    expect(formatDuration(61_000)).toBe("1 m 1 s");
    expect(formatDuration(3_660_000)).toBe("1 h 1 m");
  });
});

describe("contentHash", () => {
  it("changes with content and names, and tells neighbours apart", async () => {
    await writeFile(join(folder, "a"), "1");
    const first = await contentHash({ path: folder });
    await writeFile(join(folder, "a"), "2");
    const second = await contentHash({ path: folder });
    expect(second).not.toBe(first);
    expect(await contentHash("ab", "c")).not.toBe(await contentHash("a", "bc"));
  });
});

describe("writeFileAtomic", () => {
  it("leaves the old file and no rest when it fails", async () => {
    const path = join(folder, "state.json");
    await writeFileAtomic(path, "old");
    await expect(writeFileAtomic(join(folder, "missing/state.json"), "new")).rejects.toThrow("ENOENT");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(folder)).toEqual(["state.json"]);
  });
});

describe("run", () => {
  it("feeds input and gathers both streams", async () => {
    const result = await run("sh", ["-c", "cat; echo oops >&2"], { input: "hello" });
    expect(result).toEqual({ code: 0, stdout: "hello", stderr: "oops\n" });
  });

  it("names the command and what it said when it fails", async () => {
    await expect(run("sh", ["-c", "echo broken >&2; exit 3"])).rejects.toThrow(/ended with 3: broken/);
  });

  it("kills what takes too long", async () => {
    const error = await run("sleep", ["60"], { timeoutMs: 20 }).catch((caught) => caught);
    expect(error).toBeInstanceOf(DormouseError);
    expect(error.code).toBe("deadline_exceeded");
  });

  it("says which command is not there", async () => {
    await expect(run("no-such-command-here", [])).rejects.toThrow("no command no-such-command-here here");
  });
});

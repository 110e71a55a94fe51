import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hashCommand } from "./build-context.ts";

// The shell and the tools that every machine has, as Debian has them.
const busybox = "/usr/bin/busybox";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-context-"));
  for (const [path, text] of Object.entries({
    "package.json": "{}",
    "package-lock.json": "{}",
    "src/a.ts": "a",
    "src/deep/b.ts": "b",
    "a folder/c": "c",
    "src/.git/HEAD": "main",
  })) {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), text);
  }
});
afterEach(() => rm(folder, { recursive: true }));

/** What a hash is over, by source. */
async function hashes(...sources: string[]): Promise<string[]> {
  const [command = "", ...args] = hashCommand(folder, sources, busybox);
  const { stdout } = await promisify(execFile)(command, args);
  return stdout.trim().split("\n");
}

/** Those of these sources that a change changes. */
async function changed(change: () => Promise<unknown>, ...sources: string[]): Promise<string[]> {
  const before = await hashes(...sources);
  await change();
  const after = await hashes(...sources);
  expect(after).toHaveLength(sources.length);
  return sources.filter((_, index) => before[index] !== after[index]);
}

const at = (path: string) => join(folder, path);

describe("the hash of what a build takes out of its context", () => {
  it("changes with content, mode and names of what is taken, and with nothing else", async () => {
    const sources = [".", "package.json", "package*.json", "src", "src/?.ts", "a folder", "missing"];
    const changes: [change: () => Promise<unknown>, changes: string[]][] = [
      [() => writeFile(at("package.json"), "[]"), [".", "package.json", "package*.json"]],
      [() => chmod(at("src/a.ts"), 0o755), [".", "src", "src/?.ts"]],
      [() => rename(at("src/a.ts"), at("src/c.ts")), [".", "src", "src/?.ts"]],
      [() => rename(at("src/c.ts"), at("src/cc.ts")), [".", "src", "src/?.ts"]],
      [() => writeFile(at("package-x.json"), ""), [".", "package*.json"]],
      [() => rm(at("src/deep/b.ts")), [".", "src"]],
      [() => chmod(at("src/deep"), 0o700), [".", "src"]],
      [() => writeFile(at("a folder/c"), "d"), [".", "a folder"]],
      [() => writeFile(at("missing"), ""), [".", "missing"]],
      [() => utimes(at("package.json"), 1, 1), []],
      [() => writeFile(at("src/.git/HEAD"), "other"), []],
    ];
    let before = await hashes(...sources);
    for (const [change, expected] of changes) {
      await change();
      const after = await hashes(...sources);
      expect(sources.filter((_, index) => before[index] !== after[index])).toEqual(expected);
      before = after;
    }
  });

  it("is of everything where a link leads, as that may be anywhere", async () => {
    await symlink("src", at("link"));
    const change = () => writeFile(at("a folder/c"), "another");
    expect(await changed(change, "link", "l*", "src")).toEqual(["link", "l*"]);
  });

  it("takes names as they are, whatever a shell would make of them", async () => {
    await writeFile(at("$(touch x);'\"`"), "1");
    const odd = "$(touch x);'\"`";
    expect(await changed(() => writeFile(at(odd), "2"), odd, "$*", "src")).toEqual([odd, "$*"]);
    await expect(hashes("x")).resolves.toEqual(await hashes("missing"));
  });

  it("needs the folder", async () => {
    const [command = "", ...args] = hashCommand(at("no"), ["."], busybox);
    await expect(promisify(execFile)(command, args)).rejects.toMatchObject({ code: 1 });
  });
});

import { describe, expect, it, vi } from "vitest";
import { FileNames } from "./file-names.ts";
import { PathIndex } from "./path-index.ts";

const paths = [
  ".gitignore",
  "many.txt",
  "src/deep/user-service.ts",
  "src/deep/userService.test.ts",
  "src/one.ts",
  "src/ünder_score.ts",
];

describe("a path index", () => {
  it("ranks names before folders and whole words before scattered letters", async () => {
    const index = await PathIndex.of(paths);
    const find = (query: string) => index.find(query, 10);
    expect(await find("")).toEqual(paths);
    expect((await find("user service"))[0]).toBe("src/deep/userService.test.ts");
    expect((await find("us"))[0]).toBe("src/deep/user-service.ts");
    expect(await find("deep/one")).toEqual([]);
    expect((await find("srcone"))[0]).toBe("src/one.ts");
    expect(await find("ÜNDER")).toEqual(["src/ünder_score.ts"]);
    expect(await find("zzz")).toEqual([]);
  });

  it("finds the same whether a query was typed letter by letter, taken back or pasted", async () => {
    const many = Array.from({ length: 5_000 }, (_, n) => `area-${n % 7}/Module${n % 101}/file_${n}.ts`);
    const typed = await PathIndex.of(many);
    for (const query of ["f", "fi", "file4", "file42", "file4", "m", "mo9", "mo9f4"]) {
      const pasted = await PathIndex.of(many);
      const found = await typed.find(query, 20);
      expect(found).toEqual(await pasted.find(query, 20));
      expect(found.length).toBeGreaterThan(0);
    }
  });

  it("ends when nobody waits any more", async () => {
    const index = await PathIndex.of(paths);
    await expect(index.find("a", 10, AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
  });
});

describe("names that are kept", () => {
  /** A machine's folder that can change and that counts how often it is listed. */
  function folderOf(...files: string[]) {
    const folder = { files, listed: 0, fails: false };
    const list = async () => {
      folder.listed++;
      if (folder.fails) throw new Error("away");
      return (async function* () {
        yield { names: folder.files.slice(0, 1).join("//") };
        yield { names: folder.files.slice(1).join("//") };
        return { limitHit: false };
      })();
    };
    return { folder, names: new FileNames(list) };
  }
  const where = { cwd: "/workspace", exclude: ["**/dist"] };

  it("are listed once for whoever asks while they are fresh, also at once", async () => {
    const { folder, names } = folderOf("a.ts", "b.ts");
    const answers = await Promise.all([names.find(where, "a", 10), names.find(where, "b", 10)]);
    expect(answers.map(({ paths }) => paths)).toEqual([["a.ts"], ["b.ts"]]);
    await names.find(where, "ts", 10);
    expect(folder.listed).toBe(1);
    await names.find({ ...where, exclude: [] }, "ts", 10);
    expect(folder.listed).toBe(2);
  });

  it("answer at once when files came or went, and one that was made since is found all the same", async () => {
    const { folder, names } = folderOf("a.ts");
    await names.find(where, "a", 10);
    folder.files = ["a.ts", "new.ts"];
    expect((await names.find(where, "new", 10)).paths).toEqual([]);
    names.changed();
    expect((await names.find(where, "a", 10)).paths).toEqual(["a.ts"]);
    expect(folder.listed).toBe(1);
    expect((await names.find(where, "new", 10)).paths).toEqual(["new.ts"]);
    expect(folder.listed).toBe(2);
  });

  it("are fetched again behind the answers while they are old", async () => {
    const { folder, names } = folderOf("a.ts");
    await names.find(where, "a", 10);
    names.changed();
    folder.files = ["a.ts", "a-new.ts"];
    const now = vi.spyOn(performance, "now").mockReturnValue(performance.now() + 6_000);
    expect((await names.find(where, "a", 10)).paths).toEqual(["a.ts"]);
    now.mockRestore();
    await expect.poll(async () => (await names.find(where, "a", 10)).paths).toEqual(["a.ts", "a-new.ts"]);
    expect(folder.listed).toBe(2);
  });

  it("are listed again when a failed listing is asked for once more", async () => {
    const { folder, names } = folderOf("a.ts");
    folder.fails = true;
    await expect(names.find(where, "a", 10)).rejects.toThrow("away");
    folder.fails = false;
    expect((await names.find(where, "a", 10)).paths).toEqual(["a.ts"]);
  });

  it("let whoever gives up go, and serve the others", async () => {
    const { names } = folderOf("a.ts");
    const stop = new AbortController();
    const given = names.find(where, "a", 10, stop.signal);
    const other = names.find(where, "a", 10);
    stop.abort(new Error("typed on"));
    await expect(given).rejects.toThrow("typed on");
    expect((await other).paths).toEqual(["a.ts"]);
  });
});

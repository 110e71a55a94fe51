import { limits } from "@dormouse/contract/limits";

const first =
  "calm still quiet soft mild warm dim late deep mossy dusky hazel amber silver velvet woolly snug drowsy sleepy dreamy";
const second =
  "acorn alder aspen birch bramble burrow clover fern glade grove hazel heath hollow ivy larch maple meadow nest oak rowan";

/** A name made of two words, for workspaces without a repository. Not unique. */
export function randomName(): string {
  return `${pick(first.split(" "))}-${pick(second.split(" "))}`;
}

/** A repository's name as a workspace's: small letters, digits and single dashes. */
export function nameAfter(repository: string): string {
  const name = repository
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, limits.workspaceNameLength)
    .replace(/^-+|-+$/g, "");
  return name === "" ? randomName() : name;
}

/** `base`, then `base-2`, `base-3` and so on; after a few of them random ends, which need no search. */
export function* candidates(base: string): Generator<string> {
  yield base;
  for (let n = 2; n <= 5; n++) yield withEnd(base, String(n));
  for (;;) yield withEnd(base, randomEnd());
}

/** The name with letters behind it that nobody guesses or has had, of at most `length` characters. */
export function withRandomEnd(name: string, length: number): string {
  return withEnd(name, randomEnd(), length);
}

function withEnd(base: string, end: string, length: number = limits.workspaceNameLength): string {
  return `${base.slice(0, length - end.length - 1).replace(/-+$/, "")}-${end}`;
}

function randomEnd(): string {
  const letters = "bcdfghjkmnpqrstvwxz";
  return Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) => letters[byte % letters.length]).join("");
}

function pick(words: readonly string[]): string {
  const [value = 0] = crypto.getRandomValues(new Uint32Array(1));
  return words[value % words.length] ?? "dormouse";
}

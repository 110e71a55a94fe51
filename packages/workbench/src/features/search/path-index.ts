import { slices } from "@dormouse/base";
import { othersFirst } from "./others-first.ts";

/**
 * Paths of a folder, ready to be looked up by some of their characters. With 100,000 of them an answer takes some
 * tens of milliseconds: most are ruled out by the set of their characters, and a query that goes on where the last one ended
 * looks only at what that one found.
 */
export class PathIndex {
  readonly #paths: readonly string[];
  /** What is compared: in lower case. */
  readonly #lower: string[] = [];
  /** Where the name of the file begins. */
  readonly #nameStarts: Uint32Array;
  /** Which characters are in it, see {@link charactersOf}. */
  readonly #characters: Uint32Array;
  #last: { query: string; found: number[] } | undefined;

  private constructor(paths: readonly string[]) {
    this.#paths = paths;
    this.#nameStarts = new Uint32Array(paths.length);
    this.#characters = new Uint32Array(paths.length);
  }

  /** Gives way to other work on the way. */
  static async of(paths: readonly string[], signal?: AbortSignal): Promise<PathIndex> {
    const index = new PathIndex(paths);
    const pause = slices(othersFirst, signal);
    for (const [n, path] of paths.entries()) {
      const lower = path.toLowerCase();
      index.#lower.push(lower);
      index.#nameStarts[n] = lower.lastIndexOf("/") + 1;
      index.#characters[n] = charactersOf(lower);
      if (n % 1024 === 0) await pause();
    }
    return index;
  }

  get size(): number {
    return this.#paths.length;
  }

  /**
   * The paths that hold all characters of the query in their order, best first. Better is: in the
   * file's name rather than in its folders, in one piece, at the start of words, in short paths.
   * Blanks in the query are left out; an empty one finds the first paths. Gives way to other work on the way.
   */
  async find(query: string, maxResults: number, signal?: AbortSignal): Promise<string[]> {
    const wanted = query.toLowerCase().replace(/\s+/g, "");
    if (!wanted) return this.#paths.slice(0, maxResults);
    const characters = charactersOf(wanted);
    const before = this.#last && wanted.startsWith(this.#last.query) ? this.#last.found : undefined;
    const count = before?.length ?? this.#paths.length;
    const pause = slices(othersFirst, signal);
    const found: number[] = [];
    let top: Scored[] = [];
    let worst = Number.NEGATIVE_INFINITY;
    for (let at = 0; at < count; at++) {
      if (at % 1024 === 0) await pause();
      const n = before ? (before[at] as number) : at;
      if (((this.#characters[n] as number) & characters) !== characters) continue;
      const score = this.#scoreOf(n, wanted);
      if (score === undefined) continue;
      found.push(n);
      if (score <= worst) continue;
      top.push({ path: this.#paths[n] as string, score });
      // Now and then only the best stay, so that the last sort is bounded.
      if (top.length < 4 * maxResults + 1000) continue;
      top = best(top, maxResults);
      worst = top.at(-1)?.score ?? worst;
    }
    this.#last = { query: wanted, found };
    return best(top, maxResults).map(({ path }) => path);
  }

  /** Higher is better; undefined where the characters are not all there. */
  #scoreOf(n: number, wanted: string): number | undefined {
    const path = this.#paths[n] as string;
    const lower = this.#lower[n] as string;
    const nameStart = this.#nameStarts[n] as number;
    const inName = wanted.includes("/") ? undefined : subsequence(path, lower, wanted, nameStart);
    if (inName !== undefined) {
      const isWhole = lower.length - nameStart === wanted.length && lower.endsWith(wanted);
      return inName + 1000 + (isWhole ? 1000 : 0) - lower.length / 100;
    }
    const inPath = subsequence(path, lower, wanted, 0);
    return inPath === undefined ? undefined : inPath - lower.length / 100;
  }
}

interface Scored {
  path: string;
  score: number;
}

function best(found: Scored[], count: number): Scored[] {
  return found.sort((a, b) => b.score - a.score || (a.path < b.path ? -1 : 1)).slice(0, count);
}

/** A bit for each letter, one for all digits, and one for each of a few others; what has no bit rules nothing out. */
function charactersOf(lower: string): number {
  let bits = 0;
  for (let at = 0; at < lower.length; at++) {
    const code = lower.charCodeAt(at);
    if (code >= 0x61 && code <= 0x7a) bits |= 1 << (code - 0x61);
    else if (code >= 0x30 && code <= 0x39) bits |= 1 << 26;
    else if (code === 0x2e) bits |= 1 << 27;
    else if (code === 0x2d) bits |= 1 << 28;
    else if (code === 0x5f) bits |= 1 << 29;
  }
  return bits >>> 0;
}

function subsequence(path: string, lower: string, wanted: string, from: number): number | undefined {
  const whole = lower.indexOf(wanted, from);
  if (whole >= 0) return 20 * wanted.length + (isWordStart(path, whole) ? 100 : 0) + 50;
  let score = 0;
  let last = from - 2;
  for (let n = 0; n < wanted.length; n++) {
    const at = lower.indexOf(wanted[n] as string, Math.max(from, last + 1));
    if (at < 0) return undefined;
    if (at === last + 1) score += 10;
    if (isWordStart(path, at)) score += 15;
    last = at;
  }
  return score;
}

function isWordStart(path: string, at: number): boolean {
  if (at === 0) return true;
  const before = path.charCodeAt(at - 1);
  // One of / _ - . and blank.
  if (before === 0x2f || before === 0x5f || before === 0x2d || before === 0x2e || before === 0x20) return true;
  const here = path.charCodeAt(at);
  return here >= 0x41 && here <= 0x5a && !(before >= 0x41 && before <= 0x5a);
}

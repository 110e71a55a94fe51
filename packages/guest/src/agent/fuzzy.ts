import { slices } from "./slices.ts";

/**
 * The paths that hold all characters of the query in their order, best first. Better is: in the
 * file's name rather than in its folders, in one piece, at the start of words, in short paths.
 * Blanks in the query are left out. Gives way to other work on the way.
 */
export async function rankPaths(
  paths: readonly string[],
  query: string,
  maxResults: number,
  signal?: AbortSignal,
): Promise<string[]> {
  const wanted = query.toLowerCase().replace(/\s+/g, "");
  const pause = slices(signal);
  let found: { path: string; score: number }[] = [];
  let worst = Number.NEGATIVE_INFINITY;
  for (const path of paths) {
    await pause();
    const score = scoreOf(path, wanted);
    if (score === undefined || score <= worst) continue;
    found.push({ path, score });
    // Now and then only the best stay, so that memory and the last sort are bounded.
    if (found.length < 4 * maxResults + 1000) continue;
    found = best(found, maxResults);
    worst = found.at(-1)?.score ?? worst;
  }
  return best(found, maxResults).map(({ path }) => path);
}

function best(found: { path: string; score: number }[], count: number) {
  return found.sort((a, b) => b.score - a.score || (a.path < b.path ? -1 : 1)).slice(0, count);
}

/** Higher is better; undefined where the characters are not all there. */
function scoreOf(path: string, wanted: string): number | undefined {
  const lower = path.toLowerCase();
  const nameStart = lower.lastIndexOf("/") + 1;
  const inName = wanted.includes("/") ? undefined : subsequence(path, lower, wanted, nameStart);
  if (inName !== undefined) {
    const isWhole = lower.length - nameStart === wanted.length && lower.endsWith(wanted);
    return inName + 1000 + (isWhole ? 1000 : 0) - lower.length / 100;
  }
  const inPath = subsequence(path, lower, wanted, 0);
  return inPath === undefined ? undefined : inPath - lower.length / 100;
}

function subsequence(path: string, lower: string, wanted: string, from: number): number | undefined {
  const whole = lower.indexOf(wanted, from);
  if (whole >= 0) return 20 * wanted.length + (isWordStart(path, whole) ? 100 : 0) + 50;
  let score = 0;
  let last = from - 2;
  for (const character of wanted) {
    const at = lower.indexOf(character, Math.max(from, last + 1));
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

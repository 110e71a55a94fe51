import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { SearchMatch } from "@dormouse/contract/guest-schemas";
import { limits } from "@dormouse/contract/limits";
import { bytesToPath } from "../byte-path.ts";
import type { Spawner } from "../process/spawner.ts";
import { runProgram } from "./program.ts";
import type { Machine } from "./session.ts";

const searchMs = 5 * 60_000;
/** What is found is gathered this long before it is sent. */
const batchMs = 50;
const batchMatches = 500;
/** Of what ripgrep writes, some ten kilobytes each. */
const batchParts = 16;
/** Characters of a line that are sent; around its first match. */
const lineLength = 1000;
const lineBefore = 200;

/** What `search.text` takes. */
export interface TextQuery {
  cwd: string;
  query: string;
  regex: boolean;
  caseSensitive: boolean;
  wholeWord: boolean;
  include: string[];
  exclude: string[];
  maxResults: number;
}

/** What `search.names` takes. */
export interface NamesQuery {
  cwd: string;
  exclude: string[];
}

/** `search.*`, by the ripgrep of the machine's image. */
export type SearchService = ReturnType<typeof createSearchService>;

/** Searches as the user would. */
export function createSearchService(machine: Machine, spawner: Spawner) {
  return {
    text(query: TextQuery, signal?: AbortSignal): AsyncGenerator<{ matches: SearchMatch[] }, { limitHit: boolean }> {
      const search = async (push: (match: SearchMatch) => void, own: AbortSignal) => {
        let count = 0;
        let limitHit = false;
        let rest: Buffer = Buffer.alloc(0);
        const onStdout = (bytes: Buffer) => {
          const all = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes;
          const end = all.lastIndexOf(0x0a);
          rest = all.subarray(end + 1);
          for (const line of end >= 0 ? all.toString("utf8", 0, end).split("\n") : []) {
            const match = matchOf(query.cwd, line);
            if (!match) continue;
            push(match);
            count += match.ranges.length;
            if (count >= query.maxResults) limitHit = true;
            if (limitHit) break;
          }
          return !limitHit;
        };
        const { env, user } = machine.session;
        const request = { arguments: ["rg", ...textArguments(query)], cwd: query.cwd, env, user };
        const result = await runProgram(spawner, request, { timeoutMs: searchMs, signal: own, onStdout });
        if (result.exitCode > 1 && count === 0 && !result.isCut) throw searchError(result.stderr);
        return { limitHit };
      };
      return gather(search, (matches) => ({ matches }), { most: batchMatches, signal });
    },

    names(
      { cwd, exclude }: NamesQuery,
      signal?: AbortSignal,
    ): AsyncGenerator<{ names: string }, { limitHit: boolean }> {
      const list = async (push: (names: string) => void, own: AbortSignal) => {
        let count = 0;
        let rest: Buffer = Buffer.alloc(0);
        const onStdout = (bytes: Buffer) => {
          const all = Buffer.concat([rest, bytes]);
          const end = all.lastIndexOf(0);
          rest = all.subarray(end + 1);
          if (end < 0) return true;
          const names = bytesToPath(all.subarray(0, end)).split("\0");
          const taken = names.slice(0, limits.fileNames - count);
          count += taken.length;
          push(taken.join("//"));
          return count < limits.fileNames;
        };
        const { env, user } = machine.session;
        const request = { arguments: ["rg", ...common(exclude), "--files", "--null"], cwd, env, user };
        const result = await runProgram(spawner, request, { timeoutMs: searchMs, signal: own, onStdout });
        if (result.exitCode > 1 && count === 0 && !result.isCut) throw searchError(result.stderr);
        return { limitHit: result.isCut };
      };
      return gather(list, (parts) => ({ names: parts.join("//") }), { most: batchParts, signal });
    },
  };
}

/**
 * What a producer pushes, in events of what came within a moment; ends with what the producer answers, or fails with it. The
 * producer is told to end when nobody reads on, and waited for.
 */
async function* gather<Item, Event, Answer>(
  produce: (push: (item: Item) => void, signal: AbortSignal) => Promise<Answer>,
  eventOf: (items: Item[]) => Event,
  options: { most: number; signal: AbortSignal | undefined },
): AsyncGenerator<Event, Answer> {
  const inbox: Item[] = [];
  let isOver = false;
  let notify = () => {};
  const stop = new AbortController();
  const push = (item: Item) => {
    inbox.push(item);
    notify();
  };
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const work = produce(push, signal).finally(() => {
    isOver = true;
    notify();
  });
  // Its failure is told by the await below, which may come later.
  work.catch(() => {});
  try {
    while (!isOver || inbox.length > 0) {
      if (inbox.length === 0) {
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
      if (!isOver && inbox.length < options.most) await new Promise((resolve) => setTimeout(resolve, batchMs));
      if (inbox.length > 0) yield eventOf(inbox.splice(0, options.most));
    }
    return await work;
  } finally {
    stop.abort();
    await work.catch(() => {});
  }
}

/** Hidden files are part of a project; what git ignores, and git's own folder, are not. */
function common(exclude: readonly string[]): string[] {
  return [
    "--no-config",
    "--hidden",
    ...["!.git", ...exclude.map((glob) => `!${glob}`)].flatMap((glob) => ["--glob", glob]),
  ];
}

function textArguments(query: TextQuery): string[] {
  const flags = [
    "--json",
    "--crlf",
    query.caseSensitive ? "--case-sensitive" : "--ignore-case",
    ...(query.regex ? [] : ["--fixed-strings"]),
    ...(query.wholeWord ? ["--word-regexp"] : []),
    ...(query.regex && query.query.includes("\\n") ? ["--multiline"] : []),
  ];
  const include = query.include.flatMap((glob) => ["--glob", glob]);
  return [...include, ...common(query.exclude), ...flags, "--regexp", query.query, "--", "."];
}

function searchError(stderr: string): DormouseError {
  const lines = stderr.split("\n").map((line) => line.trim());
  const isExpression = lines.some((line) => line.includes("regex parse error"));
  const said = [...lines].reverse().find((line) => line.startsWith("error:")) ?? lines.find((line) => line) ?? "";
  const message = said.replace(/^(?:rg|error): /, "").slice(0, 300);
  if (isExpression) return new DormouseError("invalid_argument", `query: is no regular expression: ${message}`);
  return new DormouseError("failed_precondition", `search failed: ${message}`);
}

interface Text {
  text?: string;
  bytes?: string;
}

interface JsonLine {
  type: string;
  data: { path: Text; lines: Text; line_number: number; submatches: { start: number; end: number }[] };
}

function matchOf(cwd: string, line: string): SearchMatch | undefined {
  // Most lines are matches; the others, summaries, need no parsing.
  if (!line.startsWith('{"type":"match"')) return undefined;
  const { data } = JSON.parse(line) as JsonLine;
  const name = data.path.text ?? bytesToPath(Buffer.from(data.path.bytes ?? "", "base64"));
  const bytes =
    data.lines.text === undefined ? Buffer.from(data.lines.bytes ?? "", "base64") : Buffer.from(data.lines.text);
  const text = bytes.toString("utf8");
  const isPlain = text.length === bytes.length;
  const position = (offset: number) => (isPlain ? offset : bytes.toString("utf8", 0, offset).length);
  const ranges = data.submatches.map(({ start, end }): [number, number] => [position(start), position(end)]);
  return { path: posix.join(cwd, name), line: data.line_number, ...shorten(text.replace(/\r?\n$/, ""), ranges) };
}

/** A minified file is one line of megabytes; what is shown of it stands around its first match. */
function shorten(text: string, ranges: [number, number][]): Pick<SearchMatch, "text" | "ranges"> {
  const clip = (end: number) => Math.min(end, text.length);
  if (text.length <= lineLength) return { text, ranges: ranges.map(([start, end]) => [start, clip(end)]) };
  const from = Math.max(0, (ranges[0]?.[0] ?? 0) - lineBefore);
  const to = Math.min(text.length, from + lineLength);
  const inside = ranges.filter(([start]) => start >= from && start < to);
  return {
    text: text.slice(from, to).toWellFormed(),
    ranges: inside.map(([start, end]) => [start - from, Math.min(end, to) - from]),
  };
}

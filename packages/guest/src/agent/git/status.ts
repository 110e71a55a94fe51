import type { GitFile, GitStatus } from "@dormouse/contract/guest-schemas";
import { bytesToPath } from "../../byte-path.ts";

/** What `git status --porcelain=v2 --branch -z` tells. */
export type ParsedStatus = Pick<GitStatus, "branch" | "head" | "upstream" | "ahead" | "behind" | "files">;

type State = GitFile["index"];

/**
 * Parses porcelain v2 with NUL ends (git-status(1), "Porcelain Format Version 2"). A last record
 * that is not complete, as when git was cut off, is left out.
 */
export function parseStatus(output: Buffer): ParsedStatus {
  const status: ParsedStatus = { branch: null, head: null, upstream: null, ahead: 0, behind: 0, files: [] };
  const records = splitRecords(output);
  for (let record = records.next(); !record.done; record = records.next()) {
    const line = record.value;
    const kind = String.fromCharCode(line[0] ?? 0);
    if (kind === "#") parseHeader(status, line.toString("utf8"));
    else if (kind === "1") status.files.push(changed(line, 8));
    else if (kind === "2") {
      const original = records.next();
      if (original.done) break;
      status.files.push({ ...changed(line, 9), originalPath: bytesToPath(original.value) });
    } else if (kind === "u") status.files.push({ ...changed(line, 10), conflicted: true });
    else if (kind === "?" || kind === "!") {
      status.files.push({ path: bytesToPath(line.subarray(2)), index: kind, worktree: kind, conflicted: false });
    }
  }
  return status;
}

function* splitRecords(output: Buffer): Generator<Buffer, undefined> {
  let start = 0;
  for (let end = output.indexOf(0); end >= 0; end = output.indexOf(0, start)) {
    yield output.subarray(start, end);
    start = end + 1;
  }
  return undefined;
}

/** `fields` fields stand before the path, which may hold spaces itself. */
function changed(line: Buffer, fields: number): GitFile {
  let at = 0;
  for (let field = 0; field < fields; field++) at = line.indexOf(0x20, at) + 1;
  const states = line.toString("latin1", 2, 4);
  return {
    path: bytesToPath(line.subarray(at)),
    index: (states[0] ?? ".") as State,
    worktree: (states[1] ?? ".") as State,
    conflicted: false,
  };
}

function parseHeader(status: ParsedStatus, line: string): void {
  const match = /^# branch\.(\w+) (.*)$/s.exec(line);
  const [, name, value = ""] = match ?? [];
  if (name === "oid") status.head = value === "(initial)" ? null : value;
  if (name === "head") status.branch = value === "(detached)" ? null : value;
  if (name === "upstream") status.upstream = value;
  const counts = name === "ab" ? /^\+(\d+) -(\d+)$/.exec(value) : null;
  if (counts) {
    status.ahead = Number(counts[1]);
    status.behind = Number(counts[2]);
  }
}

/** One conflict that git left in a file; all numbers are lines, from 0. */
export interface Conflict {
  /** `<<<<<<<`, and what it says of the side that is checked out. */
  start: number;
  currentName: string;
  /** `|||||||`, where git was told to show what both sides had. */
  base: number | undefined;
  /** `=======` */
  middle: number;
  /** `>>>>>>>`, and what it says of the side that comes in. */
  end: number;
  incomingName: string;
}

/** What a conflict becomes. */
export type Resolution = "current" | "incoming" | "both";

/** Finds the conflicts in a file's lines. What is not whole is none. */
export function findConflicts(lines: readonly string[]): Conflict[] {
  const conflicts: Conflict[] = [];
  let open: { start: number; currentName: string; base?: number; middle?: number } | undefined;
  lines.forEach((line, at) => {
    const start = /^<{7}(?: (.*))?\r?$/.exec(line);
    if (start) {
      open = { start: at, currentName: start[1] ?? "" };
      return;
    }
    if (!open) return;
    if (/^\|{7}(?: |\r?$)/.test(line) && open.middle === undefined) open.base = at;
    else if (/^={7}\r?$/.test(line)) open.middle ??= at;
    const end = /^>{7}(?: (.*))?\r?$/.exec(line);
    if (end && open.middle !== undefined) {
      const { start: first, currentName, base, middle } = open;
      conflicts.push({ start: first, currentName, base, middle, end: at, incomingName: end[1] ?? "" });
      open = undefined;
    }
  });
  return conflicts;
}

/** The lines that a conflict becomes. */
export function resolveConflict(lines: readonly string[], conflict: Conflict, resolution: Resolution): string[] {
  const current = lines.slice(conflict.start + 1, conflict.base ?? conflict.middle);
  const incoming = lines.slice(conflict.middle + 1, conflict.end);
  if (resolution === "current") return current;
  return resolution === "incoming" ? incoming : [...current, ...incoming];
}

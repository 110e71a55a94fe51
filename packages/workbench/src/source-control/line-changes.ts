/** Lines `[start, end)` of a text, from 0. */
export interface LineSpan {
  start: number;
  end: number;
}

/** Lines of one text that stand for lines of another; either span may be empty. */
export interface LineChange {
  original: LineSpan;
  modified: LineSpan;
}

/** A text as lines; joined with a line feed they are the text again, carriage returns included. */
export const linesOf = (text: string): string[] => text.split("\n");

/** Of each change that the selected lines of the modified text touch, the part that they touch. */
export function selectChanges(changes: readonly LineChange[], selected: readonly LineSpan[]): LineChange[] {
  return changes.flatMap((change) => {
    const parts = selected.flatMap((span) => partOf(change, span) ?? []);
    // Selections are disjoint; two of them may touch one change whose lines cannot be told apart.
    return parts.filter((part, index) => parts.findIndex((other) => isSame(part, other)) === index);
  });
}

/** The original text with these changes made to it. */
export function applyChanges(
  original: readonly string[],
  modified: readonly string[],
  changes: readonly LineChange[],
): string[] {
  const result: string[] = [];
  let at = 0;
  for (const change of changes) {
    result.push(...original.slice(at, change.original.start));
    result.push(...modified.slice(change.modified.start, change.modified.end));
    at = change.original.end;
  }
  return [...result, ...original.slice(at)];
}

/** The same changes seen from the other side. */
export const reversed = (changes: readonly LineChange[]): LineChange[] =>
  changes.map(({ original, modified }) => ({ original: modified, modified: original }));

function partOf(change: LineChange, selected: LineSpan): LineChange | undefined {
  const { original, modified } = change;
  // What was removed lies between two lines: being on either of them selects it.
  if (modified.start === modified.end) {
    const touches = selected.start <= modified.start && selected.end >= modified.start;
    return touches ? change : undefined;
  }
  const start = Math.max(modified.start, selected.start);
  const end = Math.min(modified.end, selected.end);
  if (start >= end) return undefined;
  if (start === modified.start && end === modified.end) return change;
  // As many lines before as after are taken to be the same lines, changed.
  if (original.end - original.start === modified.end - modified.start) {
    const offset = start - modified.start;
    const from = original.start + offset;
    return { original: { start: from, end: from + end - start }, modified: { start, end } };
  }
  // Of lines that are only added some can be taken; those that replace others replace all of them.
  return { original, modified: { start, end } };
}

function isSame(one: LineChange, other: LineChange): boolean {
  return one.modified.start === other.modified.start && one.modified.end === other.modified.end;
}

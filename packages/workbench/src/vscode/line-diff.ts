import { linesDiffComputers } from "@codingame/monaco-vscode-api/vscode/vs/editor/common/diff/linesDiffComputers";
import type { LineChange } from "../source-control/line-changes.ts";

/** How long a comparison may take; what it found by then is still a correct, if not the shortest, way from one to the other. */
const maxComputationTimeMs = 5_000;

/** What changed between two texts, as the editor's own comparison finds it. */
export function diffLines(original: string[], modified: string[]): LineChange[] {
  const options = { ignoreTrimWhitespace: false, maxComputationTimeMs, computeMoves: false };
  const { changes } = linesDiffComputers.getDefault().computeDiff(original, modified, options);
  return changes.map((change) => ({
    original: { start: change.original.startLineNumber - 1, end: change.original.endLineNumberExclusive - 1 },
    modified: { start: change.modified.startLineNumber - 1, end: change.modified.endLineNumberExclusive - 1 },
  }));
}

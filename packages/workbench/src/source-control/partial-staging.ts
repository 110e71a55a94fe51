import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import { fromBase64, toBase64 } from "../bytes.ts";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { diffLines } from "../vscode/line-diff.ts";
import { type ContentQuery, contentScheme } from "./content.ts";
import { applyChanges, type LineChange, type LineSpan, linesOf, reversed, selectChanges } from "./line-changes.ts";
import type { Repository } from "./repository.ts";

/** What the editor hands to a command of the bar beside a change in a comparison. */
export interface DiffHunk {
  /** The left side with this change made to it. */
  originalWithModifiedChanges: string;
  originalUri: vscode.Uri;
  modifiedUri: vscode.Uri;
}

/** Stages the change, or the part of it, that a comparison of the index with the file shows. */
export async function stageHunk(channel: Channel, repository: Repository, hunk: DiffHunk): Promise<void> {
  await writeIndex(channel, repository, pathIn(repository, hunk.modifiedUri), hunk.originalWithModifiedChanges);
}

/** Stages the selected lines of the active file. Saves it first, so that the file holds what is staged. */
export async function stageSelection(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const editor = activeEditor(api, "file");
  if (editor.document.isDirty) await editor.document.save();
  const path = pathIn(repository, editor.document.uri);
  const index = linesOf(await read(channel, repository, ":", path));
  const file = linesOf(editor.document.getText());
  const changes = selectedChanges(editor, diffLines(index, file));
  await writeIndex(channel, repository, path, applyChanges(index, file, changes).join("\n"));
}

/** Takes the selected lines of a staged file out of the index. */
export async function unstageSelection(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const editor = activeEditor(api, contentScheme);
  const { path } = JSON.parse(editor.document.uri.query) as ContentQuery;
  const head = linesOf(await read(channel, repository, "HEAD", toGuestPath(path)));
  const index = linesOf(editor.document.getText());
  const changes = selectedChanges(editor, diffLines(head, index));
  await writeIndex(channel, repository, toGuestPath(path), applyChanges(index, head, reversed(changes)).join("\n"));
}

/** Puts the selected lines of the active file back to how the index has them; the editor can undo it. */
export async function revertSelection(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const editor = activeEditor(api, "file");
  const index = linesOf(await read(channel, repository, ":", pathIn(repository, editor.document.uri)));
  const file = linesOf(editor.document.getText());
  const changes = selectedChanges(editor, diffLines(index, file));
  const text = applyChanges(file, index, reversed(changes));
  const same = (at: number, from: (lines: string[]) => string | undefined) => at >= 0 && from(file) === from(text);
  const shorter = Math.min(file.length, text.length);
  let start = 0;
  while (start < shorter && file[start] === text[start]) start++;
  let kept = 0;
  while (kept < shorter - start && same(shorter - start - kept, (lines) => lines.at(-1 - kept))) kept++;
  // From the end of the line before, so that a last line without an end goes too.
  const from = start > 0 ? editor.document.lineAt(start - 1).range.end : new api.Position(0, 0);
  const to = editor.document.lineAt(Math.max(file.length - 1 - kept, 0)).range.end;
  const inserted = text.slice(start, text.length - kept);
  const lead = start > 0 && inserted.length > 0 ? "\n" : "";
  await editor.edit((builder) => builder.replace(new api.Range(from, to), lead + inserted.join("\n")));
}

function activeEditor(api: Api, scheme: string): vscode.TextEditor {
  const editor = api.window.activeTextEditor;
  if (editor?.document.uri.scheme === scheme) return editor;
  const where = scheme === "file" ? "a file of the repository" : "the right side of a comparison of staged changes";
  throw new DormouseError("failed_precondition", `put the cursor into ${where} first`);
}

function selectedChanges(editor: vscode.TextEditor, changes: LineChange[]): LineChange[] {
  const spans = editor.selections.map(({ start, end, isEmpty }): LineSpan => {
    // A selection that ends before the first character of a line does not have that line.
    const isBefore = !isEmpty && end.character === 0;
    return { start: start.line, end: isBefore ? end.line : end.line + 1 };
  });
  const selected = selectChanges(changes, spans);
  if (selected.length === 0) throw new DormouseError("failed_precondition", "there is no change in the selected lines");
  return selected;
}

function pathIn(repository: Repository, uri: vscode.Uri): string {
  if (!uri.path.startsWith(`${repository.root}/`)) {
    throw new DormouseError("failed_precondition", `${uri.path} is not in the repository ${repository.root}`);
  }
  return toGuestPath(uri.path.slice(repository.root.length + 1));
}

async function read(channel: Channel, repository: Repository, ref: string, path: string): Promise<string> {
  const content = await channel.guest.git.show({ cwd: repository.cwd, ref, path }).catch((caught) => {
    // A file that is new there.
    if (DormouseError.from(caught).code === "not_found") return { content: "" };
    throw caught;
  });
  const bytes = fromBase64(content.content);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    // The editor shows a file without its mark; what is made of it would lack it.
    if (!text.startsWith("\ufeff")) return text;
  } catch {
    // Told below.
  }
  throw new DormouseError("failed_precondition", `${path} is no plain UTF-8 text; stage all of it`);
}

async function writeIndex(channel: Channel, repository: Repository, path: string, text: string): Promise<void> {
  const content = toBase64(new TextEncoder().encode(text));
  await channel.guest.git.stageContent({ cwd: repository.cwd, path, content });
  await repository.refresh();
}

import { createId, DormouseError } from "@dormouse/base";
import type { ExecResult, Workspace } from "@dormouse/sdk";

/** How something is copied. */
export interface CopyOptions {
  signal: AbortSignal;
  /** Told how far it is; the total where it is known. */
  onProgress: (bytes: number, totalBytes: number | undefined) => void;
}

/** A file in the machine for an archive on its way. */
export function archiveFile(): string {
  return `/tmp/dormouse-${createId("copy")}.tar`;
}

/** What a path in the machine is, links followed; undefined when there is nothing. */
export async function statRemote(workspace: Workspace, path: string): Promise<"file" | "directory" | undefined> {
  try {
    const entry = await workspace.files.stat(path);
    const type = entry.type === "symlink" ? entry.targetType : entry.type;
    if (type === "file" || type === "directory") return type;
    throw new DormouseError("invalid_argument", `${path} in ${workspace.name} is neither a file nor a folder`);
  } catch (error) {
    if (error instanceof DormouseError && error.code === "not_found") return undefined;
    throw error;
  }
}

/** @throws DormouseError with the end of the error output when a command in the machine failed. */
export function checkRemote(result: ExecResult, what: string): void {
  if (result.exitCode === 0) return;
  throw new DormouseError("internal", `${what} failed in the workspace: ${result.stderr.trim().slice(-1000)}`);
}

/** Passes on what comes and reports how much it was. */
export async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  totalBytes: number | undefined,
  onProgress: CopyOptions["onProgress"],
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  onProgress(0, totalBytes);
  for await (const chunk of chunks) {
    yield chunk;
    bytes += chunk.length;
    onProgress(bytes, totalBytes);
  }
}

import { appendFile, copyFile, mkdir, open, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dormouse/base";

/** What the set-ups of workspaces wrote: of images, features and hooks. A machine that failed and is gone has its log still. */
export interface SetUpLogs {
  /** Begins to write; what was written is in the file when it is disposed. */
  open(workspaceId: string): SetUpLog;
  /** The end of what was written. */
  read(workspaceId: string): Promise<string>;
  /** What was written of one is another's as well from now on, in the place of what that one had. */
  copy(from: string, to: string): Promise<void>;
  remove(workspaceId: string): Promise<void>;
}

/** Lines that are on their way to a workspace's log. */
export interface SetUpLog extends AsyncDisposable {
  add(line: string): void;
}

const maxBytes = 4 * 1024 * 1024;
const shownBytes = 256 * 1024;
const flushMs = 500;

/** {@link SetUpLogs} in a folder, a file for each workspace. */
export function createSetUpLogs(folder: string, log: Logger): SetUpLogs {
  const fileOf = (workspaceId: string) => join(folder, `${workspaceId}.log`);
  const write = async (file: string, text: string) => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { size } = await stat(file).catch(() => ({ size: 0 }));
    if (size > maxBytes) await truncate(file);
    await appendFile(file, text, { mode: 0o600 });
  };
  return {
    open(workspaceId) {
      let lines: string[] = [];
      let writing = Promise.resolve();
      let timer: NodeJS.Timeout | undefined;
      const flush = () => {
        clearTimeout(timer);
        timer = undefined;
        if (lines.length === 0) return;
        const text = `${lines.join("\n")}\n`;
        lines = [];
        writing = writing
          .then(() => write(fileOf(workspaceId), text))
          .catch((error: unknown) => log.warn("the log of a set-up was not written", { workspaceId, error }));
      };
      return {
        add(line) {
          lines.push(`${new Date().toISOString()} ${line}`);
          timer ??= setTimeout(flush, flushMs);
        },
        async [Symbol.asyncDispose]() {
          flush();
          await writing;
        },
      };
    },
    async read(workspaceId) {
      const file = await open(fileOf(workspaceId)).catch(() => undefined);
      if (!file) return "";
      try {
        const { size } = await file.stat();
        const length = Math.min(size, shownBytes);
        const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
        return buffer.toString("utf8");
      } finally {
        await file.close();
      }
    },
    async copy(from, to) {
      await copyFile(fileOf(from), fileOf(to)).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
        // Nothing was written.
        await rm(fileOf(to), { force: true });
      });
    },
    async remove(workspaceId) {
      await rm(fileOf(workspaceId), { force: true });
    },
  };
}

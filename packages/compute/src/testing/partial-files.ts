import { spawn } from "node:child_process";
import { once } from "node:events";
import { blockBytes } from "../block-set.ts";
import { createFileView } from "../file-view.ts";
import { openNativeTools } from "../native.ts";
import { openPartialFiles, type PartialFiles } from "../partial-file.ts";

/** What VMMs would see of some folders, without any VMM. */
export interface SeenByVmms extends AsyncDisposable {
  files: PartialFiles;
  /** Reads a block of 64 KiB as a VMM would. @throws Error with the reader's words. */
  read(file: string, block: number): Promise<Buffer>;
  /** Has a file open, as a VMM would, until it is disposed of. */
  hold(file: string): Promise<AsyncDisposable>;
}

/** Needs root; native programs are compiled into `cacheDir`. */
export async function openSeenByVmms(cacheDir: string, folders: readonly string[]): Promise<SeenByVmms> {
  const tools = await openNativeTools(cacheDir);
  const view = await createFileView([cacheDir, ...folders]);
  return {
    files: await openPartialFiles(tools, view),
    async read(file, block) {
      const options = [`if=${file}`, `bs=${blockBytes}`, `skip=${block}`, "count=1", "status=none"];
      const reader = spawn("nsenter", [`--mount=${view.path}`, "--", "dd", ...options], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      const pieces: Buffer[] = [];
      let words = "";
      reader.stdout.on("data", (data) => pieces.push(data));
      reader.stderr.on("data", (data) => {
        words += data;
      });
      const [code] = await once(reader, "close");
      if (code !== 0) throw new Error(words);
      return Buffer.concat(pieces);
    },
    async hold(file) {
      const script = 'exec < "$0"; echo open; exec sleep 600';
      const holder = spawn("nsenter", [`--mount=${view.path}`, "--", "sh", "-c", script, file], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(holder, "close");
      await once(holder.stdout, "data");
      return {
        async [Symbol.asyncDispose]() {
          holder.kill("SIGKILL");
          await ended;
        },
      };
    },
    [Symbol.asyncDispose]: () => view.close(),
  };
}

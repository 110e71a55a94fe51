import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type FileHandle, open, rm } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DormouseError, disposer, withTimeout } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { BlockSet, blockBytes } from "./block-set.ts";
import type { FileView } from "./file-view.ts";
import type { NativeTools } from "./native.ts";

/** Shows files to VMMs as if they were whole, while they are still being filled. */
export interface PartialFiles {
  /**
   * From now on VMMs see `file` whole: who reads a block that is not there waits for it. Others see the file as it is. The
   * program that does it outlives this process; it ends when the file is open in no VMM and nobody is connected.
   * @param socket path that does not exist yet: where to connect to it, see {@link connectPartialFile}.
   * @throws DormouseError `internal` with its words; nothing is shown then.
   */
  serve(file: string, socket: string): Promise<void>;
  /** Shows what VMMs see at `file` at another path too, that of a file. */
  show(file: string, at: string): Promise<void>;
  /** From now on VMMs that open the path get the file itself; those that have opened it keep what they have. */
  hide(path: string): Promise<void>;
}

/** What becomes known of a file that is being filled. */
export interface PartialFileListener {
  /** A reader waits for this block. */
  onWant(block: number): void;
  /** So many have it open now. */
  onUse(count: number): void;
  /** The connection is over, not by {@link PartialFile.close}: whoever reads what is not there gets an error. */
  onEnd(): void;
}

/** A file that is being filled, for whoever fills it; one at a time, a newer connection ends the one before. */
export interface PartialFile {
  /** Blocks of 64 KiB that were there at first. */
  readonly present: BlockSet;
  /** These blocks are in the file now. */
  provide(first: number, count: number): void;
  /** The file will not become whole: who reads what is not there gets an error, now or later. */
  fail(): void;
  /** Readers wait on for the next connection. */
  close(): void;
}

const startTimeoutMs = 10_000;
const maxWordsBytes = 1000;

/**
 * Opens it for the VMMs of a file view.
 * @throws DormouseError `unimplemented` where this host's kernel does not do it.
 */
export async function openPartialFiles(tools: NativeTools, view: FileView): Promise<PartialFiles> {
  const inView = (args: readonly string[]) => [`--mount=${view.path}`, "--", tools.serveBlocks, ...args];
  const files: PartialFiles = {
    async serve(file, socket) {
      await using device = await open("/dev/fuse", "r+");
      await startServer(inView([file, socket]), device);
    },
    show: async (file, at) => void (await run("nsenter", inView(["--show", file, at]), { timeoutMs: startTimeoutMs })),
    hide: async (path) => void (await run("nsenter", inView(["--hide", path]), { timeoutMs: startTimeoutMs })),
  };
  await tryOut(files, tools.folder).catch((error) => {
    throw new DormouseError("unimplemented", `files cannot be shown while they are filled: ${error.message}`, {
      cause: error,
    });
  });
  return files;
}

/** The program goes on by itself once it has said that it serves. */
async function startServer(args: readonly string[], device: FileHandle): Promise<void> {
  const server = spawn("nsenter", args, {
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    detached: true,
    stdio: ["ignore", "pipe", "pipe", device.fd],
  });
  try {
    await withTimeout("starting to show a file", startTimeoutMs, () => firstWord(server));
  } catch (error) {
    server.kill("SIGKILL");
    throw error;
  } finally {
    server.stdout?.destroy();
    server.stderr?.destroy();
    server.unref();
  }
}

async function firstWord(server: ChildProcess): Promise<void> {
  let words = "";
  server.stderr?.on("data", (data) => {
    words = `${words}${data}`.slice(-maxWordsBytes);
  });
  const said = new Promise<boolean>((resolve) => server.stdout?.once("data", () => resolve(true)));
  const ended = once(server, "close").then(() => false);
  if (await Promise.race([said, ended])) return;
  throw new DormouseError("internal", `a file cannot be shown while it is filled: ${words.trim() || "no words"}`);
}

async function tryOut(files: PartialFiles, folder: string): Promise<void> {
  const path = join(folder, `serve-test-${randomBytes(4).toString("hex")}`);
  const socket = `${path}.fill`;
  await using undo = disposer();
  undo.add(() => rm(path, { force: true }));
  await (await open(path, "wx")).close();
  undo.add(() => rm(socket, { force: true }));
  await files.serve(path, socket);
  undo.add(() => files.hide(path));
  (await connectPartialFile({ socket, bytes: 0, onWant() {}, onUse() {}, onEnd() {} })).close();
}

/**
 * Connects to what shows a file of `bytes` bytes.
 * @throws DormouseError `unavailable` when it has ended.
 */
export async function connectPartialFile(
  options: PartialFileListener & { socket: string; bytes: number; signal?: AbortSignal },
): Promise<PartialFile> {
  const { socket: path, bytes, onWant, onUse, onEnd, signal } = options;
  const connection = createConnection(path);
  let isClosed = false;
  const lines = createInterface({ input: connection });
  const begun = new Promise<BlockSet>((resolve, reject) => {
    const end = () => {
      reject(new DormouseError("unavailable", `nothing shows the file of ${path} any more`));
      if (!isClosed) onEnd();
      isClosed = true;
    };
    // Of the connection; whoever reads its lines is told as well.
    lines.on("error", reject);
    connection.on("error", reject);
    connection.on("close", end);
    lines.on("line", (line) => {
      const [verb, value = ""] = line.split(" ");
      if (verb === "have") resolve(BlockSet.fromHex(Math.ceil(bytes / blockBytes), value));
      else if (verb === "want" && !isClosed) onWant(Number(value));
      else if (verb === "used" && !isClosed) onUse(Number(value));
    });
  });
  try {
    const present = await withTimeout("connecting to what shows a file", startTimeoutMs, () => begun, signal);
    return talkTo(connection, present, () => {
      isClosed = true;
    });
  } catch (error) {
    isClosed = true;
    connection.destroy();
    throw DormouseError.from(error, "unavailable");
  }
}

function talkTo(connection: Socket, present: BlockSet, close: () => void): PartialFile {
  return {
    present,
    provide: (first, count) => void connection.write(`have ${first} ${count}\n`),
    fail: () => void connection.write("fail\n"),
    close() {
      close();
      connection.end();
    },
  };
}

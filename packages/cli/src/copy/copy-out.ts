import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import { Writable } from "node:stream";
import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/sdk";
import { archiveFile, type CopyOptions, checkRemote, counted, statRemote } from "./transfer.ts";

/**
 * Copies a file or folder of a workspace to this machine. A file is replaced as a
 * whole once all of it is here; a folder is packed in the machine and unpacked here.
 * @returns where it lies now, and how many bytes travelled.
 */
export async function copyOut(
  workspace: Workspace,
  source: string,
  destination: string,
  options: CopyOptions,
): Promise<{ path: string; bytes: number }> {
  const kind = await statRemote(workspace, source);
  if (kind === undefined) throw new DormouseError("not_found", `${workspace.name} has no ${source}`);
  const name = posix.basename(posix.normalize(source)) || "root";
  const path = (await isFolder(destination)) || destination.endsWith("/") ? join(destination, name) : destination;
  if (kind === "file") return { path, bytes: await receiveFile(workspace, source, path, options) };
  return { path, bytes: await receiveFolder(workspace, source, path, options) };
}

async function receiveFile(workspace: Workspace, source: string, path: string, options: CopyOptions): Promise<number> {
  const entry = await workspace.files.stat(source);
  const content = await workspace.files.readStream(source, { signal: options.signal });
  const temporary = `${path}.${randomBytes(4).toString("hex")}.part`;
  const file = await open(temporary, "wx");
  let bytes = 0;
  try {
    for await (const chunk of counted(content, entry.size, options.onProgress)) {
      await file.writeFile(chunk);
      bytes += chunk.length;
    }
    await file.close();
    await chmod(temporary, entry.mode & 0o777);
    await rename(temporary, path);
    return bytes;
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
}

async function receiveFolder(
  workspace: Workspace,
  source: string,
  path: string,
  options: CopyOptions,
): Promise<number> {
  const { signal } = options;
  const archive = archiveFile();
  try {
    const pack = 'tar -C "$FROM" -cf "$ARCHIVE" .';
    const packed = await workspace.exec(["sh", "-c", pack], {
      cwd: "/",
      env: { FROM: source, ARCHIVE: archive },
      signal,
    });
    checkRemote(packed, `packing ${source}`);
    const { size } = await workspace.files.stat(archive);
    await mkdir(path, { recursive: true });
    const content = await workspace.files.readStream(archive, { signal });
    await unpackHere(counted(content, size, options.onProgress), path, signal);
    return size;
  } finally {
    await workspace.files.remove(archive).catch(() => {
      // It never came to be, or the workspace is gone with it.
    });
  }
}

async function unpackHere(content: AsyncIterable<Uint8Array>, path: string, signal: AbortSignal): Promise<void> {
  const tar = spawn("tar", ["-C", path, "--no-same-owner", "-xf", "-"], { stdio: ["pipe", "ignore", "pipe"], signal });
  let complaint = "";
  tar.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(-2000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    tar.once("error", reject);
    tar.once("close", resolve);
  });
  try {
    const input = Writable.toWeb(tar.stdin);
    await ReadableStream.from(content)
      .pipeTo(input)
      .catch(async (error: unknown) => {
        // When tar gives up its input breaks: what tar says about it tells more.
        if ((await ended) === 0) throw error;
      });
    const code = await ended;
    if (code !== 0) throw new DormouseError("internal", `tar ended with ${code}: ${complaint.trim()}`);
  } finally {
    tar.kill();
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, posix, resolve } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/sdk";
import { archiveFile, type CopyOptions, checkRemote, counted, statRemote } from "./transfer.ts";

/**
 * Copies a file or folder of this machine into a workspace. A file replaces what was
 * there as a whole; a folder travels as one archive that is unpacked in the machine.
 * @returns where it lies now, and how many bytes travelled.
 */
export async function copyIn(
  workspace: Workspace,
  source: string,
  destination: string,
  options: CopyOptions,
): Promise<{ path: string; bytes: number }> {
  const info = await stat(source);
  const there = await statRemote(workspace, destination);
  const isInto = there === "directory" || destination.endsWith("/");
  const path = isInto ? posix.join(destination, basename(resolve(source))) : destination;
  if (info.isFile()) {
    const content = counted(createReadStream(source), info.size, options.onProgress);
    await workspace.files.writeStream(path, content, { mode: info.mode & 0o777, signal: options.signal });
    return { path, bytes: info.size };
  }
  if (!info.isDirectory()) {
    throw new DormouseError("invalid_argument", `${source} is neither a file nor a folder`);
  }
  if (there === "file") throw new DormouseError("already_exists", `${destination} is a file, and ${source} a folder`);
  const bytes = await sendFolder(workspace, source, path, options);
  return { path, bytes };
}

async function sendFolder(workspace: Workspace, source: string, path: string, options: CopyOptions): Promise<number> {
  const archive = archiveFile();
  const { signal } = options;
  // Names and links as they are; who owns it is the machine's user.
  const tar = spawn("tar", ["-C", resolve(source), "-cf", "-", "."], { stdio: ["ignore", "pipe", "pipe"], signal });
  let complaint = "";
  tar.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(-2000);
  });
  const ended = new Promise<number | null>((resolveCode, reject) => {
    tar.once("error", reject);
    tar.once("close", resolveCode);
  });
  ended.catch(() => {
    // Awaited below; until then it must not count as unhandled.
  });
  let bytes = 0;
  const content = counted(tar.stdout, undefined, (sent, total) => {
    bytes = sent;
    options.onProgress(sent, total);
  });
  try {
    await workspace.files.writeStream(archive, content, { signal });
    const code = await ended;
    if (code !== 0) throw new DormouseError("internal", `tar ended with ${code}: ${complaint.trim()}`);
    const unpack = 'mkdir -p "$TO" && tar -C "$TO" -xf "$ARCHIVE"';
    const result = await workspace.exec(["sh", "-c", unpack], {
      cwd: "/",
      env: { TO: path, ARCHIVE: archive },
      signal,
    });
    checkRemote(result, `unpacking into ${path}`);
    return bytes;
  } finally {
    tar.kill();
    await workspace.files.remove(archive).catch(() => {
      // It never came to be, or the workspace is gone with it.
    });
  }
}

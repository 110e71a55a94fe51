import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { DormouseError, formatBytes } from "@dormouse/base";
import { type CreateOptions, Workspace } from "@dormouse/sdk";
import { inspectRepository, type LocalRepository } from "./inspect.ts";
import { type PackedRepository, packRepository } from "./pack.ts";
import { unpackEnvironment, unpackScript } from "./unpack.ts";

const unpackTimeoutMs = 30 * 60_000;
const namesTried = 20;

/**
 * Opens a repository of this machine in a new workspace, so that it looks like the
 * folder: all branches and tags, the same branch checked out, and what is not committed
 * (modified, staged, deleted, untracked but not ignored). With another `ref` than the
 * one that is checked out, uncommitted changes stay here.
 *
 * Nothing is written to the folder. When it fails, no workspace is left behind.
 * @throws DormouseError `failed_precondition` for a folder that is no repository,
 *   `not_found` for a ref that it does not have, and what `Workspace.create` throws.
 */
export async function openLocalRepository(path: string, options: CreateOptions = {}): Promise<Workspace> {
  const { ref, devcontainer, ...create } = options;
  const report = (step: string, message: string, fraction?: number) =>
    options.onProgress?.({ type: "progress", step, message, fraction });
  const source = await inspectRepository(path, ref);
  report("pack", `Packing ${source.root}`);
  await using packed = await packRepository(source, {
    signal: options.signal,
    onProgress: (line) => report("pack", `Packing ${source.root}`, fractionOf(line)),
  });
  const folder = options.folder ?? `/workspaces/${source.name.replace(/[^A-Za-z0-9._-]+/g, "-")}`;
  const workspace = await createNamed(source.name, { ...create, folder });
  try {
    await bring(workspace, source, packed, { folder, signal: options.signal, report });
    if (devcontainer !== false) {
      const { onProgress, signal } = options;
      await workspace.rebuild({ devcontainer, ifNeeded: true, onProgress, signal });
    }
    return workspace;
  } catch (error) {
    await workspace.kill();
    throw options.signal?.aborted ? DormouseError.from(options.signal.reason, "cancelled") : error;
  }
}

/** Without a name of its own the workspace is called after the folder, with a number when that is taken. */
async function createNamed(folderName: string, options: CreateOptions): Promise<Workspace> {
  if (options.name !== undefined) return await Workspace.create(options);
  const base =
    folderName
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 56) || "repository";
  for (let number = 1; ; number++) {
    try {
      return await Workspace.create({ ...options, name: number === 1 ? base.replace(/-+$/, "") : `${base}-${number}` });
    } catch (error) {
      const isTaken = error instanceof DormouseError && error.code === "already_exists";
      if (!isTaken || number >= namesTried) throw error;
    }
  }
}

async function bring(
  workspace: Workspace,
  source: LocalRepository,
  packed: PackedRepository,
  options: {
    folder: string;
    signal?: AbortSignal;
    report: (step: string, message: string, fraction?: number) => void;
  },
): Promise<void> {
  const { folder, signal, report } = options;
  const remote = `/tmp/dormouse-${workspace.id}`;
  await workspace.files.write(`${remote}/config`, packed.config, { signal });
  if (source.shallow) await workspace.files.write(`${remote}/shallow`, source.shallow, { signal });
  if (packed.bundleFile) {
    const { size } = await stat(packed.bundleFile);
    const message = `Bringing the repository (${formatBytes(size)})`;
    report("upload", message, 0);
    const counted = countBytes(createReadStream(packed.bundleFile), (sent) => report("upload", message, sent / size));
    await workspace.files.writeStream(`${remote}/bundle`, counted, { signal });
  }
  report("unpack", `Checking out ${describeCheckout(source)}`);
  const result = await workspace.exec(["sh", "-c", unpackScript], {
    cwd: "/",
    signal,
    timeoutMs: unpackTimeoutMs,
    env: unpackEnvironment(source, { remote, folder, hasChanges: packed.hasChanges }),
  });
  if (result.exitCode !== 0) {
    const why = result.timedOut
      ? `it took longer than ${unpackTimeoutMs / 60_000} minutes`
      : result.stderr.trim().slice(-2000);
    throw new DormouseError("internal", `the repository could not be unpacked in the workspace: ${why}`);
  }
}

async function* countBytes(chunks: AsyncIterable<Uint8Array>, onBytes: (sum: number) => void) {
  let sum = 0;
  for await (const chunk of chunks) {
    yield chunk;
    sum += chunk.length;
    onBytes(sum);
  }
}

function describeCheckout({ checkout }: LocalRepository): string {
  return checkout.kind === "branch" ? checkout.branch : checkout.commit.slice(0, 12);
}

/** Reads git's `Writing objects:  42% (21/50)`. */
function fractionOf(line: string): number | undefined {
  const [, percent] = /(\d{1,3})%/.exec(line) ?? [];
  return percent === undefined ? undefined : Math.min(Number(percent), 100) / 100;
}

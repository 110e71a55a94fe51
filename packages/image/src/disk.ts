import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";

const maxSizeGib = 2048;

/**
 * Makes a workspace drive (`vdc`): a sparse ext4 file with the overlay's folders
 * `upper` and `work`. A few megabytes are really written; the file grows with use.
 * @throws DormouseError `invalid_argument` for a size out of range, `already_exists` when `path` is taken.
 */
export async function createWorkspaceDisk(
  path: string,
  sizeGib: number,
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  if (!Number.isInteger(sizeGib) || sizeGib < 1 || sizeGib > maxSizeGib) {
    throw new DormouseError(
      "invalid_argument",
      `sizeGib is ${sizeGib}; it must be a whole number from 1 to ${maxSizeGib}`,
    );
  }
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  await mkdir(dirname(path), { recursive: true });
  const skeleton = await mkdtemp(join(dirname(path), ".skeleton-"));
  try {
    await Promise.all([mkdir(join(skeleton, "upper")), mkdir(join(skeleton, "work"))]);
    await Promise.all([skeleton, join(skeleton, "upper")].map((folder) => chmod(folder, 0o755)));
    const file = await open(temporary, "wx", 0o644);
    await file.truncate(sizeGib * 1024 ** 3);
    await file.close();
    await run("mke2fs", [...ext4Settings, "-d", skeleton, temporary], { signal: options.signal });
    await publishNew(temporary, path);
  } finally {
    await Promise.all([temporary, skeleton].map((name) => rm(name, { recursive: true, force: true })));
  }
}

/**
 * Copies a drive: by reference where the file system can (XFS, btrfs), else only the
 * parts that hold data, so that an almost empty 10 GiB drive takes milliseconds.
 * The copy appears as a whole; on failure nothing is left behind.
 * @throws DormouseError `not_found` without `from`, `already_exists` when `to` is taken.
 */
export async function cloneDisk(from: string, to: string, options: { signal?: AbortSignal } = {}): Promise<void> {
  const temporary = `${to}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await run("cp", ["--reflink=auto", "--sparse=auto", "--", from, temporary], {
      timeoutMs: 600_000,
      signal: options.signal,
    });
    await publishNew(temporary, to);
  } catch (error) {
    if (/No such file|cannot stat/.test(DormouseError.from(error).message)) {
      throw new DormouseError("not_found", `there is no drive ${from}`, { cause: error });
    }
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

// No reserved blocks (there is no other user to keep them for), a small journal, and tables
// that the guest's kernel initialises when it first needs them.
const ext4Settings = [
  ...["-q", "-F", "-t", "ext4", "-L", "workspace"],
  ...["-m", "0", "-b", "4096", "-i", "16384", "-J", "size=16"],
  ...["-O", "metadata_csum,^resize_inode"],
  ...["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"],
];

/** Renames without replacing what is there. */
async function publishNew(temporary: string, path: string): Promise<void> {
  await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST") throw new DormouseError("already_exists", `there is already a file ${path}`);
    throw error;
  });
}

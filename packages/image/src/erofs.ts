import { run } from "@dormouse/base/node";

/**
 * Packs a folder into an EROFS image, identifiers and, unless they are to be kept, times fixed. It stays
 * uncompressed: the host's page cache holds it once for all machines, and an
 * emulated CPU would spend more time decompressing than the read takes.
 */
export async function packErofs(
  options: {
    tree: string;
    file: string;
    /** All files become root's. */
    ownedByRoot?: boolean;
    /** Files keep their times of change; otherwise all have the epoch's beginning. */
    keepTimes?: boolean;
    timeoutMs?: number;
  },
  signal?: AbortSignal,
): Promise<void> {
  const times = options.keepTimes ? [] : ["-T", "0"];
  const identity = [...times, "-U", "00000000-0000-0000-0000-000000000000"];
  const owner = options.ownedByRoot ? ["--all-root"] : [];
  await run("mkfs.erofs", ["--quiet", ...identity, ...owner, options.file, options.tree], {
    timeoutMs: options.timeoutMs ?? 300_000,
    signal,
  });
}

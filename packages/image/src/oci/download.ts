import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, DormouseError, formatBytes, systemClock } from "@dormouse/base";
import { tooLarge } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import { copyToLayout, type RegistryOptions } from "./skopeo.ts";
import { watched } from "./watched.ts";

/** How often in a row it may fail without a single byte more on the disk. */
const maxIdleAttempts = 5;

/** A registry that sends nothing for so long is asked anew. */
const defaultStallMs = 60_000;

/** What {@link download} needs to know. */
export interface DownloadOptions extends RegistryOptions {
  /** For people, in messages. */
  name: string;
  /** By digest. */
  place: ImageReference;
  layout: string;
  /** What there is to fetch, as the manifest says. */
  expectedBytes: number;
  maxBytes: number;
  timeoutMs: number;
  report(message: string, fraction?: number): void;
  signal?: AbortSignal;
  stallMs?: number;
  clock?: Clock;
}

/**
 * Fetches an image into an OCI layout. A registry that fails in between, or goes silent, is asked again;
 * layers that are whole are kept for that.
 * @throws DormouseError what the last of five attempts in vain threw; the caller removes the layout.
 */
export async function download(options: DownloadOptions): Promise<void> {
  const clock = options.clock ?? systemClock;
  let wholeBytes = -1;
  for (let failures = 0; ; ) {
    try {
      return await attempt(options);
    } catch (error) {
      const isCurable = error instanceof DormouseError && error.code === "unavailable";
      if (!isCurable || options.signal?.aborted) throw error;
      const bytes = (await sizesIn(options.layout)).whole;
      failures = bytes > wholeBytes ? 1 : failures + 1;
      wholeBytes = bytes;
      if (failures >= maxIdleAttempts) throw error;
      options.report(`The registry failed; fetching the rest of ${options.name} again`);
      await clock.sleep(500 * 2 ** failures, options.signal);
    }
  }
}

async function attempt(options: DownloadOptions): Promise<void> {
  const stallMs = options.stallMs ?? defaultStallMs;
  let last = { bytes: -1, atMs: performance.now() };
  const check = async () => {
    const { whole, partial } = await sizesIn(options.layout);
    const bytes = whole + partial;
    if (bytes > options.maxBytes) throw tooLarge(options.name, bytes, options.maxBytes);
    if (bytes !== last.bytes) last = { bytes, atMs: performance.now() };
    else if (performance.now() - last.atMs > stallMs) {
      throw new DormouseError("unavailable", `the registry sent nothing of ${options.name} for ${stallMs} ms`);
    }
    const fraction = Math.min(1, bytes / Math.max(1, options.expectedBytes));
    options.report(
      `Fetching ${options.name}: ${formatBytes(bytes)} of ${formatBytes(options.expectedBytes)}`,
      0.6 * fraction,
    );
  };
  await watched({ intervalMs: Math.min(500, stallMs), check, signal: options.signal }, (signal) =>
    copyToLayout(options.place, options.layout, { ...options, signal }),
  );
}

/** Bytes of finished blobs, and of those that are being written. */
async function sizesIn(layout: string): Promise<{ whole: number; partial: number }> {
  const sizes = async (folder: string, pattern: RegExp) => {
    const names = (await readdir(folder).catch(() => [])).filter((name) => pattern.test(name));
    const found = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)));
    return found.reduce((sum, facts) => sum + (facts?.isFile() ? facts.size : 0), 0);
  };
  // skopeo writes to oci-put-blob… beside the blobs and renames what is whole.
  const [whole, partial] = await Promise.all([
    sizes(join(layout, "blobs", "sha256"), /^[0-9a-f]{64}$/),
    sizes(layout, /^oci-put-blob/),
  ]);
  return { whole, partial };
}

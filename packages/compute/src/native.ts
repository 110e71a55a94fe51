import { randomBytes } from "node:crypto";
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";

const sourceFolder = fileURLToPath(new URL("../native/", import.meta.url));
const warnings = ["-O2", "-Wall", "-Wextra", "-Werror", "-s"];
const sharedFlags = [...warnings, "-shared", "-fPIC", "-fvisibility=hidden"];
const programs = [
  { name: "copy-pages", source: "copy-pages.c", flags: [...warnings, "-static"], mode: 0o755 },
  { name: "serve-blocks", source: "serve-blocks.c", flags: [...warnings, "-static"], mode: 0o755 },
  {
    name: "track-writes.so",
    source: "track-writes.c",
    flags: sharedFlags,
    mode: 0o644,
  },
  {
    name: "late-arguments.so",
    source: "late-arguments.c",
    flags: sharedFlags,
    mode: 0o644,
  },
] as const;
const compileTimeoutMs = 120_000;
const testTimeoutMs = 10_000;

/** The native programs that capturing a running machine, and starting one ahead, take. */
export interface NativeTools {
  /** Folder that holds all of them; VMMs must be able to see it. */
  folder: string;
  /** Copies a VMM's memory; runs as root. */
  copyPages: string;
  /** Shows a file whole that is still being filled; started as root, see {@link openPartialFiles}. */
  serveBlocks: string;
  /** Loaded into VMMs: has the kernel track what is written. */
  trackWrites: string;
  /** Loaded into VMMs that are started before their machine is known: has them wait for their arguments. */
  lateArguments: string;
}

/**
 * Compiles `native/`, or finds it in the cache by content, and tries it on this kernel.
 * @throws DormouseError `not_found` without a C compiler, `internal` with the compiler's words, `unimplemented` when
 *   the kernel cannot track writes. A failed build leaves nothing in the cache.
 */
export async function openNativeTools(cacheDir: string, signal?: AbortSignal): Promise<NativeTools> {
  const hash = await contentHash("vmm-native", JSON.stringify(programs), { path: sourceFolder });
  const folder = join(cacheDir, `vmm-native-${hash}`);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const [copyPages = "", serveBlocks = "", trackWrites = "", lateArguments = ""] = await Promise.all(
    programs.map(async ({ name, source, flags, mode }) => {
      const path = join(folder, name);
      if (await isThere(path)) return path;
      // A name of its own for each builder: whoever is last puts the same bytes in the place.
      const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
      try {
        const args = [...flags, "-o", temporary, join(sourceFolder, source)];
        await run("gcc", args, { timeoutMs: compileTimeoutMs, signal });
        await chmod(temporary, mode);
        await rename(temporary, path);
      } finally {
        await rm(temporary, { force: true });
      }
      return path;
    }),
  );
  await selfTest(copyPages, folder, signal);
  return { folder, copyPages, serveBlocks, trackWrites, lateArguments };
}

async function selfTest(copyPages: string, folder: string, signal?: AbortSignal): Promise<void> {
  // The file is gone again before anything is tried; it lies on a real disk, as the memory of machines does.
  const path = join(folder, `self-test-${randomBytes(4).toString("hex")}`);
  const { stdout } = await run(copyPages, ["--self-test", path], { timeoutMs: testTimeoutMs, signal });
  const answer = stdout.trim();
  if (answer !== "ok") throw new DormouseError("unimplemented", `writes cannot be tracked: ${answer}`);
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.size > 0,
    () => false,
  );
}

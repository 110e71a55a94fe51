import { chmod, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";
import { contentHash, run, writeFileAtomic } from "@dormouse/base/node";
import { type BuildOptions, build, version as bundlerVersion } from "esbuild";

const initFolder = fileURLToPath(new URL("../init/", import.meta.url));
const agentEntry = fileURLToPath(new URL("./agent/main.ts", import.meta.url));
const compilerFlags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-s"];

/** The guest's own programs, ready for the system drive. */
export interface GuestPrograms {
  /** Static executable; process 1 of a machine. */
  initBinary: string;
  /** The agent as one ES module without dependencies. */
  agentFile: string;
  /** Over everything both were made from. */
  hash: string;
}

/** How {@link buildGuest} builds. */
export interface BuildGuestOptions {
  /** Default: DORMOUSE_CACHE, else /var/cache/dormouse. */
  cacheDir?: string;
  signal?: AbortSignal;
}

/**
 * Compiles the init and bundles the agent, or finds them in the cache, by content.
 * @throws DormouseError `not_found` without a C compiler; `internal` with the compiler's own words.
 *   A failed build leaves nothing in the cache.
 */
export async function buildGuest(options: BuildGuestOptions = {}): Promise<GuestPrograms> {
  const cacheDir = options.cacheDir ?? process.env.DORMOUSE_CACHE ?? "/var/cache/dormouse";
  const [init, agent] = await Promise.all([buildInit(cacheDir, options.signal), buildAgent(cacheDir)]);
  const hash = await contentHash(init.hash, agent.hash);
  return { initBinary: init.path, agentFile: agent.path, hash };
}

/** The init alone; the tests' spawner. */
export async function buildInit(cacheDir: string, signal?: AbortSignal): Promise<{ path: string; hash: string }> {
  const hash = await contentHash("guest-init", compilerFlags.join(" "), { path: initFolder });
  const folder = join(cacheDir, `guest-init-${hash}`);
  const path = join(folder, "dormouse-init");
  if (await isThere(path)) return { path, hash };
  await mkdir(folder, { recursive: true });
  // A name of its own for each builder: whoever is last puts the same bytes in the place.
  const temporary = `${path}.${process.pid}.${Date.now()}.tmp`;
  const sources = (await readdir(initFolder))
    .filter((name) => name.endsWith(".c"))
    .map((name) => join(initFolder, name));
  try {
    await run("gcc", [...compilerFlags, "-o", temporary, ...sources], { timeoutMs: 120_000, signal });
    await chmod(temporary, 0o755);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return { path, hash };
}

const bundleOptions: BuildOptions = {
  entryPoints: [agentEntry],
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  minify: true,
  // Names stay: they stand in the stacks of the agent's log.
  keepNames: false,
  legalComments: "none",
  // ws looks for two optional native helpers; the agent has none.
  external: ["bufferutil", "utf-8-validate"],
  define: { "process.env.WS_NO_BUFFER_UTIL": '"1"', "process.env.WS_NO_UTF_8_VALIDATE": '"1"' },
  banner: {
    js: 'import { createRequire as dormouseRequire } from "node:module"; const require = dormouseRequire(import.meta.url);',
  },
  logLevel: "silent",
  write: false,
};

async function buildAgent(cacheDir: string): Promise<{ path: string; hash: string }> {
  // Bundling takes a fraction of a second and knows its inputs best: the output's hash is the name.
  const result = await build(bundleOptions).catch((cause: unknown) => {
    throw new DormouseError("internal", `the agent cannot be bundled: ${String(cause)}`, { cause });
  });
  const bundle = result.outputFiles?.[0]?.contents;
  if (!bundle) throw new DormouseError("internal", `esbuild ${bundlerVersion} made no bundle of ${agentEntry}`);
  const hash = await contentHash("guest-agent", bundle);
  const folder = join(cacheDir, `guest-agent-${hash}`);
  const path = join(folder, "agent.mjs");
  if (!(await isThere(path))) {
    await mkdir(folder, { recursive: true });
    await writeFileAtomic(path, bundle);
  }
  return { path, hash };
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await readFile(path)).length > 0;
  } catch {
    return false;
  }
}

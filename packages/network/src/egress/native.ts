import { randomBytes } from "node:crypto";
import { access, chmod, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { contentHash, run } from "@dormouse/base/node";

const sourceFolder = fileURLToPath(new URL("../../native/", import.meta.url));
const warnings = ["-O2", "-Wall", "-Wextra", "-Werror"];
// The kernel's headers ask for those of the machine, where Debian keeps them.
const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
const programs = [
  {
    name: "egress.bpf.o",
    compiler: "clang",
    args: [...warnings, "-g", "-target", "bpf", `-I/usr/include/${machine}-linux-gnu`, "-c", "egress.bpf.c"],
  },
  { name: "egress-maps", compiler: "gcc", args: [...warnings, "-s", "egress-maps.c", "-lbpf"] },
  { name: "egress-proxy", compiler: "gcc", args: [...warnings, "-s", "egress-proxy.c"] },
] as const;
const compileTimeoutMs = 120_000;

/** What the egress policy is enforced with, compiled. */
export interface EgressPrograms {
  /** Of the sources; names what is loaded in the kernel. */
  hash: string;
  /** The filter, for the kernel. */
  filter: string;
  maps: string;
  proxy: string;
}

/**
 * Compiles `native/`, or finds it in the cache by content.
 * @throws DormouseError `not_found` without a compiler, `internal` with the compiler's words. A failed build leaves nothing.
 */
export async function openEgressPrograms(cacheDir: string, signal?: AbortSignal): Promise<EgressPrograms> {
  const hash = await contentHash("egress", JSON.stringify(programs), { path: sourceFolder });
  const folder = join(cacheDir, `egress-${hash}`);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const [filter = "", maps = "", proxy = ""] = await Promise.all(
    programs.map(async ({ name, compiler, args }) => {
      const path = join(folder, name);
      const isThere = await access(path).then(
        () => true,
        () => false,
      );
      if (isThere) return path;
      // A name of its own for each builder: whoever is last puts the same bytes in the place.
      const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
      try {
        const options = { cwd: sourceFolder, timeoutMs: compileTimeoutMs, ...(signal && { signal }) };
        await run(compiler, [...args, "-o", temporary], options);
        await chmod(temporary, 0o755);
        await rename(temporary, path);
      } finally {
        await rm(temporary, { force: true });
      }
      return path;
    }),
  );
  return { hash, filter, maps, proxy };
}

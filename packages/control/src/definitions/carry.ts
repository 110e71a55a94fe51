import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { request } from "undici";
import { type HostConnection, remote } from "../host/client.ts";
import type { GuestAccount } from "./accounts.ts";
import { ignoreFiles, pathsFunction } from "./build-context.ts";
import { busybox, runLogged } from "./run.ts";
import { podman } from "./services.ts";

/** What of a machine is a workspace's own beside its repository. */
export interface Volumes {
  /** Of mounts: folders of the machine. */
  folders: string[];
  /** Whether services run there, whose volumes the engine has. */
  ofServices: boolean;
}

/** Carries a repository's folder from a workspace's machine to another, and volumes with it. */
export interface Carrier {
  /** Puts them into files of control's. Services are stopped for it. */
  takeOut(from: MachineFolder, volumes: Volumes | undefined, signal: AbortSignal): Promise<void>;
  /** Puts them into another machine, where the repository's folder is the account's from then on. Can be repeated. */
  putIn(workspaceId: string, folder: string, account: GuestAccount, signal: AbortSignal): Promise<void>;
  /**
   * Copies out of a folder into one of another machine what the sources of a Dockerfile name and `.dockerignore`s, where
   * it is root's, without what git keeps there.
   */
  copy(from: MachineFolder, to: MachineFolder, sources: readonly string[], signal: AbortSignal): Promise<void>;
  /** Removes the files. */
  drop(workspaceId: string): Promise<void>;
}

/** A folder of a workspace's machine. */
export interface MachineFolder {
  workspaceId: string;
  folder: string;
}

const archive = "/var/tmp/dormouse-carried.tar";
const volumesArchive = "/var/tmp/dormouse-volumes.tar";
/** Where volumes of the engine lie as archives in between. */
const exported = "/var/tmp/dormouse-volumes";
const timeoutMs = 30 * 60_000;

// Volumes without a name are of one container alone, which is made anew.
const packVolumes = `set -e
b=${busybox} p=${podman} archive=$1 services=$2
shift 2
$b rm -rf ${exported}
$b mkdir -p ${exported}
if [ "$services" = yes ]; then
  $p stop --all --time 10 >/dev/null
  for name in $($p volume ls --quiet); do
    if [ \${#name} -lt 64 ]; then $p volume export --output "/host${exported}/$name.tar" "$name"; fi
  done
fi
for path; do
  shift
  if [ -d "$path" ]; then set -- "$@" ".$path"; fi
done
tar -cf "$archive" -C / .${exported} "$@"
$b rm -rf ${exported}`;
const unpackVolumes = `set -e
b=${busybox} p=${podman}
tar -xf "$1" -C /
$b rm "$1"
for file in ${exported}/*.tar; do
  [ -e "$file" ] || continue
  name=\${file##*/} name=\${name%.tar}
  $p volume exists "$name" || $p volume create "$name" >/dev/null
  $p volume import "$name" "/host$file"
done
$b rm -rf ${exported}`;

const packSources = `set -e
b=${busybox} archive=$1
$b rm -f "$archive"
cd "$2"
shift 2
${pathsFunction}
all=
for source; do
  paths "$source"
  all="$all
$found"
done
set --
case "$all
" in
*"
.
"*)
  set +f
  for name in * .[!.]* ..?*; do
    [ "$name" = .git ] && continue
    if [ -e "$name" ] || [ -L "$name" ]; then set -- "$@" "./$name"; fi
  done ;;
*)
  for path in $all; do
    if [ -e "$path" ]; then set -- "$@" "$path"; fi
  done ;;
esac
[ $# -gt 0 ] || exit 0
$b mkdir -p /var/tmp
tar -cf "$archive" "$@"`;

/** A {@link Carrier} whose files lie in a folder. */
export function createCarrier(host: HostConnection, folder: string): Carrier {
  const fileOf = (workspaceId: string) => join(folder, `${workspaceId}.tar`);
  const volumesFileOf = (workspaceId: string) => join(folder, `${workspaceId}.volumes.tar`);
  const urlOf = (workspaceId: string, path = archive) =>
    `${host.url}/machines/${workspaceId}/guest/file?path=${encodeURIComponent(path)}`;
  const headers = { authorization: `Bearer ${host.token}` };

  const run = (workspaceId: string, script: string, args: string[], signal: AbortSignal) =>
    runLogged({
      guest: host.guest(workspaceId),
      what: "carrying the repository",
      command: [busybox, "sh", "-c", script, "sh", ...args],
      ...{ cwd: "/", user: "root", env: {}, timeoutMs, signal },
      onLine: () => {},
    });

  /** Of a machine, where it is gone then. */
  async function download(workspaceId: string, path: string, file: string, signal: AbortSignal) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { statusCode, body } = await request(urlOf(workspaceId, path), { headers, signal, bodyTimeout: timeoutMs });
    if (statusCode !== 200) throw transferError(await body.text(), statusCode);
    await pipeline(body, createWriteStream(`${file}.part`, { mode: 0o600 }), { signal });
    await rename(`${file}.part`, file);
    await remote(host.guest(workspaceId).files.remove({ path }, { signal }));
  }

  async function upload(workspaceId: string, file: { path: string; size: number }, path: string, signal: AbortSignal) {
    const { statusCode, body } = await request(urlOf(workspaceId, path), {
      method: "PUT",
      headers: { ...headers, "content-length": String(file.size) },
      body: createReadStream(file.path),
      signal,
      headersTimeout: timeoutMs,
    });
    const answer = await body.text();
    if (statusCode !== 200) throw transferError(answer, statusCode);
  }

  return {
    async takeOut({ workspaceId, folder: source }, volumes, signal) {
      const hasVolumes = volumes && (volumes.ofServices || volumes.folders.length > 0);
      if (hasVolumes) {
        const { ofServices, folders } = volumes;
        await run(workspaceId, packVolumes, [volumesArchive, ofServices ? "yes" : "no", ...folders], signal);
        await download(workspaceId, volumesArchive, volumesFileOf(workspaceId), signal);
      } else await rm(volumesFileOf(workspaceId), { force: true });
      await run(workspaceId, `${busybox} mkdir -p /var/tmp && tar -cf "$1" -C "$2" .`, [archive, source], signal);
      await download(workspaceId, archive, fileOf(workspaceId), signal);
    },

    async putIn(workspaceId, target, { uid, gid, home }, signal) {
      const file = fileOf(workspaceId);
      const { size } = await stat(file).catch((error: unknown) => {
        throw new DormouseError("data_loss", "the repository's folder that was to be carried over is gone", {
          cause: error,
        });
      });
      const volumes = volumesFileOf(workspaceId);
      const kept = await stat(volumes).catch(() => undefined);
      if (kept) {
        await upload(workspaceId, { path: volumes, size: kept.size }, volumesArchive, signal);
        await run(workspaceId, unpackVolumes, [volumesArchive], signal);
      }
      await upload(workspaceId, { path: file, size }, archive, signal);
      const script =
        `set -e; b=${busybox}; $b mkdir -p "$2"; ` +
        // What an image has there would be hidden by a mount; somebody's home is theirs.
        `[ "$2" = "$4" ] || $b find "$2" -mindepth 1 -maxdepth 1 -exec $b rm -rf {} +; ` +
        'tar -xf "$1" -C "$2"; $b chown -R "$3" "$2"; $b rm -f "$1"';
      await run(workspaceId, script, [archive, posix.normalize(target), `${uid}:${gid}`, home], signal);
    },

    async copy(from, to, sources, signal) {
      await run(from.workspaceId, packSources, [archive, from.folder, ...sources, ...ignoreFiles], signal);
      const target = posix.normalize(to.folder);
      const make = `${busybox} mkdir -p "$1"`;
      await run(to.workspaceId, make, [target], signal);
      const { exists } = await remote(host.guest(from.workspaceId).files.exists({ path: archive }, { signal }));
      if (!exists) return;
      const source = await request(urlOf(from.workspaceId), { headers, signal, bodyTimeout: timeoutMs });
      if (source.statusCode !== 200) throw transferError(await source.body.text(), source.statusCode);
      const { statusCode, body } = await request(urlOf(to.workspaceId), {
        ...{ method: "PUT", headers, body: source.body, signal, headersTimeout: timeoutMs },
      });
      const answer = await body.text();
      if (statusCode !== 200) throw transferError(answer, statusCode);
      await remote(host.guest(from.workspaceId).files.remove({ path: archive }, { signal }));
      const unpack = `set -e; tar -xof "$1" -C "$2"; ${busybox} rm "$1"; ${busybox} find "$2" -name .git -prune -exec ${busybox} rm -rf {} +`;
      await run(to.workspaceId, unpack, [archive, target], signal);
    },

    async drop(workspaceId) {
      for (const file of [fileOf(workspaceId), volumesFileOf(workspaceId)]) {
        for (const each of [file, `${file}.part`]) await rm(each, { force: true });
      }
    },
  };
}

function transferError(text: string, status: number): DormouseError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Not ours; the status says all there is.
  }
  return DormouseError.fromJSON(body) ?? new DormouseError("unavailable", `a file was not carried: status ${status}`);
}

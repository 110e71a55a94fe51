import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { request } from "undici";
import { type HostConnection, remote } from "../host/client.ts";
import type { GuestAccount } from "./accounts.ts";
import { runLogged } from "./run.ts";

/** Carries a repository's folder from a workspace's machine to another. */
export interface Carrier {
  /** Puts it into a file of control's. */
  takeOut(workspaceId: string, folder: string, signal: AbortSignal): Promise<void>;
  /** Puts it into the folder of another machine, whose it is from then on. Can be repeated. */
  putIn(workspaceId: string, folder: string, account: GuestAccount, signal: AbortSignal): Promise<void>;
  /** Copies a folder to another machine, where it is root's, without what git keeps in it. */
  copy(from: MachineFolder, to: MachineFolder, signal: AbortSignal): Promise<void>;
  /** Removes the file. */
  drop(workspaceId: string): Promise<void>;
}

/** A folder of a workspace's machine. */
export interface MachineFolder {
  workspaceId: string;
  folder: string;
}

const archive = "/var/tmp/dormouse-carried.tar";
/** In every machine, whatever its image has. */
export const busybox = "/run/dormouse/tools/bin/busybox";
const timeoutMs = 30 * 60_000;

/** A {@link Carrier} whose files lie in a folder. */
export function createCarrier(host: HostConnection, folder: string): Carrier {
  const fileOf = (workspaceId: string) => join(folder, `${workspaceId}.tar`);
  const urlOf = (workspaceId: string) =>
    `${host.url}/machines/${workspaceId}/guest/file?path=${encodeURIComponent(archive)}`;
  const headers = { authorization: `Bearer ${host.token}` };

  const run = (workspaceId: string, script: string, args: string[], signal: AbortSignal) =>
    runLogged({
      guest: host.guest(workspaceId),
      what: "carrying the repository",
      command: [busybox, "sh", "-c", script, "sh", ...args],
      ...{ cwd: "/", user: "root", env: {}, timeoutMs, signal },
      onLine: () => {},
    });

  return {
    async takeOut(workspaceId, source, signal) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await run(workspaceId, `${busybox} mkdir -p /var/tmp && tar -cf "$1" -C "$2" .`, [archive, source], signal);
      const { statusCode, body } = await request(urlOf(workspaceId), { headers, signal, bodyTimeout: timeoutMs });
      if (statusCode !== 200) throw transferError(await body.text(), statusCode);
      const file = fileOf(workspaceId);
      await pipeline(body, createWriteStream(`${file}.part`, { mode: 0o600 }), { signal });
      await rename(`${file}.part`, file);
      await remote(host.guest(workspaceId).files.remove({ path: archive }, { signal }));
    },

    async putIn(workspaceId, target, { uid, gid, home }, signal) {
      const file = fileOf(workspaceId);
      const { size } = await stat(file).catch((error: unknown) => {
        throw new DormouseError("data_loss", "the repository's folder that was to be carried over is gone", {
          cause: error,
        });
      });
      const { statusCode, body } = await request(urlOf(workspaceId), {
        method: "PUT",
        headers: { ...headers, "content-length": String(size) },
        body: createReadStream(file),
        signal,
        headersTimeout: timeoutMs,
      });
      const answer = await body.text();
      if (statusCode !== 200) throw transferError(answer, statusCode);
      const script =
        `set -e; b=${busybox}; $b mkdir -p "$2"; ` +
        // What an image has there would be hidden by a mount; somebody's home is theirs.
        `[ "$2" = "$4" ] || $b find "$2" -mindepth 1 -maxdepth 1 -exec $b rm -rf {} +; ` +
        'tar -xf "$1" -C "$2"; $b chown -R "$3" "$2"; $b rm -f "$1"';
      await run(workspaceId, script, [archive, posix.normalize(target), `${uid}:${gid}`, home], signal);
    },

    async copy(from, to, signal) {
      const pack =
        'cd "$2"; archive=$1; set --; for name in * .[!.]* ..?*; do [ "$name" = .git ] && continue; ' +
        '{ [ -e "$name" ] || [ -L "$name" ]; } && set -- "$@" "./$name"; done; ' +
        `[ $# -gt 0 ] || exit 0; ${busybox} mkdir -p /var/tmp && tar -cf "$archive" "$@"`;
      await run(from.workspaceId, `${busybox} rm -f "$1"; ${pack}`, [archive, from.folder], signal);
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
      const unpack = `set -e; tar -xof "$1" -C "$2"; ${busybox} rm "$1"`;
      await run(to.workspaceId, unpack, [archive, target], signal);
    },

    async drop(workspaceId) {
      for (const file of [fileOf(workspaceId), `${fileOf(workspaceId)}.part`]) await rm(file, { force: true });
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

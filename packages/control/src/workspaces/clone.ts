import { DormouseError, withTimeout } from "@dormouse/base";
import { fromRpcError } from "@dormouse/contract";
import { findAccount } from "../definitions/accounts.ts";
import type { Definition } from "../definitions/definition.ts";
import { busybox, runLogged } from "../definitions/run.ts";
import { type GuestClient, remote } from "../host/client.ts";
import type { WorkspaceRow } from "./view.ts";

/** What a git server asks for. */
export interface Credential {
  username: string;
  password: string;
}

/** How far it is. */
export interface CloneProgress {
  step: string;
  message: string;
  fraction?: number;
}

/** What a repository is brought into a machine with. */
export interface BringRepository {
  guest: GuestClient;
  row: Pick<WorkspaceRow, "repository" | "ref" | "folder" | "definition">;
  credential: Credential | undefined;
  onProgress: (progress: CloneProgress) => void;
  signal: AbortSignal;
}

const cloneTimeoutMs = 30 * 60_000;
const folderTimeoutMs = 60_000;

/**
 * Brings a workspace's repository into its folder. What an interrupted attempt left
 * there is removed first, so that it can be repeated.
 * @throws DormouseError as the agent's `git.clone` throws: `not_found` for an unknown
 *   repository or reference, `unauthenticated` for a refused login, `unavailable` for a
 *   server that cannot be reached.
 */
export async function cloneRepository(options: BringRepository): Promise<void> {
  const { guest, row, credential, onProgress } = options;
  const url = row.repository;
  if (url === null) return;
  const clone = async (signal: AbortSignal) => {
    await clearInterrupted(guest, row.folder, signal);
    await makeFolder(guest, row, signal);
    const input = { url, path: row.folder, ref: row.ref ?? undefined, credential };
    const stream = await remote(guest.git.clone(input, { signal }));
    for await (const { phase, message, fraction } of stream) onProgress({ step: phase, message, fraction });
  };
  try {
    await withTimeout(`cloning ${url}`, cloneTimeoutMs, clone, options.signal);
  } catch (caught) {
    const error = fromRpcError(caught);
    // That the agent cannot reach the git server is its final word, unlike control not reaching the agent.
    if (error.code !== "unavailable" || error.details.reason === undefined) throw error;
    throw new DormouseError("failed_precondition", error.message, { details: error.details, cause: error });
  }
}

/**
 * Brings the newest commit of its ref into a repository that was prebuilt. What cannot be fetched, or lies across what the
 * prebuild changed itself, is noted: the workspace is as it was prebuilt then.
 * @returns the definition; with newer commits, `updateContentCommand` is still to be run.
 */
export async function updateRepository(
  { guest, row, credential, onProgress, signal: outer }: BringRepository,
  definition: Definition,
  { commit }: { commit: string },
): Promise<Definition> {
  const { folder: cwd, ref } = row;
  if (ref !== null && commit.startsWith(ref)) return definition;
  const run = async (command: string[], signal: AbortSignal) => {
    const result = await remote(guest.exec.run({ command, cwd, timeoutMs: folderTimeoutMs }, { signal }));
    if (result.exitCode === 0) return result.stdout.trim();
    throw new DormouseError("failed_precondition", result.stderr.trim().split("\n").at(-1) ?? "");
  };
  const update = async (signal: AbortSignal) => {
    const stream = await remote(
      guest.git.fetch({ cwd, remote: "origin", branch: ref ?? "HEAD", credential }, { signal }),
    );
    for await (const { phase, message, fraction } of stream) onProgress({ step: phase, message, fraction });
    await run(["git", "reset", "--quiet", "--keep", "FETCH_HEAD"], signal);
    return await run(["git", "rev-parse", "HEAD"], signal);
  };
  try {
    const head = await withTimeout("fetching newer commits", cloneTimeoutMs, update, outer);
    if (head === commit) return definition;
    return { ...definition, done: definition.done.filter((step) => step !== "updateContentCommand") };
  } catch (caught) {
    outer.throwIfAborted();
    const { message } = fromRpcError(caught);
    const note = `prebuild: newer commits were not brought, this is ${commit.slice(0, 12)}: ${message}`;
    return { ...definition, notes: [...definition.notes, note] };
  }
}

/**
 * git clones into empty folders only, so a `.git` that is there before the first clone
 * succeeded comes from one that was cut off, and so does everything beside it.
 */
async function clearInterrupted(guest: GuestClient, folder: string, signal: AbortSignal): Promise<void> {
  const { exists } = await remote(guest.files.exists({ path: `${folder}/.git` }, { signal }));
  if (!exists) return;
  const { entries } = await remote(guest.files.list({ path: folder }, { signal }));
  for (const { path } of entries) await remote(guest.files.remove({ path, recursive: true }, { signal }));
}

/** An image's user may make no folder beside those that are there; `base` has one for its own. */
async function makeFolder(
  guest: GuestClient,
  { folder, definition }: Pick<WorkspaceRow, "folder" | "definition">,
  signal: AbortSignal,
): Promise<void> {
  if (!definition?.user || !definition.start) return;
  const { uid, gid } = await findAccount(guest, definition.user, "remoteUser", signal);
  const script = `${busybox} mkdir -p "$1" && ${busybox} chown "$2" "$1"`;
  const command = [busybox, "sh", "-c", script, "sh", folder, `${uid}:${gid}`];
  const what = "making the repository's folder";
  await runLogged({
    ...{ guest, what, command, user: "root", cwd: "/", env: {}, timeoutMs: folderTimeoutMs, onLine: () => {}, signal },
  });
}

import { DormouseError } from "@dormouse/base";
import type { FeatureLock } from "@dormouse/contract";
import {
  compareLockfile,
  formatLockfile,
  type Lockfile,
  lockedFeature,
  lockfilePath,
  parseFeatureReference,
  updateLockfile,
} from "@dormouse/devcontainer";
import { type GuestClient, type HostConnection, remote } from "../host/client.ts";
import type { Definition, VariableOwner } from "./definition.ts";
import { readDefinition } from "./read.ts";
import { orderFeatures } from "./resolve.ts";

/** How {@link lockFeatures} locks. */
export interface LockOptions {
  host: HostConnection;
  guest: GuestClient;
  owner: VariableOwner;
  wanted: Definition["wanted"];
  defaultNamespace: string | undefined;
  /** Takes what the definition's versions mean now, whatever the lock file says. */
  upgrade: boolean;
  /** False: only tells what would change. */
  write: boolean;
  signal: AbortSignal;
}

/**
 * Writes the lock file beside a repository's definition: each feature with its version and digest, sorted. What holds already
 * stays as it is, and a file that says all of it is not written.
 * @throws DormouseError `not_found` without a definition; naming the feature that is not what the lock file says.
 */
export async function lockFeatures(options: LockOptions): Promise<FeatureLock> {
  const { host, guest, owner, wanted, defaultNamespace, upgrade, write, signal } = options;
  const named = wanted === false ? null : wanted;
  const file = await readDefinition({ guest, owner, wanted: named, defaultNamespace, signal });
  if (!file) throw new DormouseError("not_found", `there is no devcontainer.json in ${owner.folder}: nothing to lock`);
  const held = upgrade ? { ...file, lockfile: undefined } : file;
  const order = await orderFeatures({ host, file: held, defaultNamespace, onProgress: () => {}, signal });
  const nodes = order.map(({ node }) => node);
  const next = updateLockfile(file.lockfile, nodes);
  const path = lockfilePath(file.path);
  const changes = compareLockfile(file.lockfile ?? { features: {} }, nodes).map(({ feature, kind }) => ({
    feature,
    from: versionIn(file.lockfile, feature),
    to: kind === "unused" ? null : versionIn(next, feature),
  }));
  if (write && changes.length > 0) {
    const content = Buffer.from(formatLockfile(next)).toString("base64");
    await remote(guest.files.write({ path: `${owner.folder}/${path}`, content }, { signal }));
  }
  return { path, features: Object.keys(next.features).length, changes };
}

function versionIn(lockfile: Lockfile | undefined, feature: string): FeatureLock["changes"][number]["to"] {
  const entry = lockfile && lockedFeature(lockfile, parseFeatureReference(feature));
  return entry ? { version: entry.version, integrity: entry.integrity } : null;
}

import { DormouseError } from "@dormouse/base";
import type { BlockRef } from "../format/block-ref.ts";
import { createCipher, type StorageKey } from "../format/encryption.ts";
import {
  decodeManifest,
  encodeManifest,
  type JsonObject,
  type SnapshotManifest,
  type SnapshotReason,
  type StoredImage,
} from "../format/manifest.ts";
import { createSnapshotId, parseSnapshotId } from "../format/snapshot-id.ts";
import type { ImageWriter } from "../image/image-writer.ts";
import { readSnapshotManifest, snapshotIds, snapshotKey } from "./catalog.ts";
import { type OpenManifest, openManifest } from "./open-manifest.ts";
import type { Settings } from "./settings.ts";
import { openWriteSession, type WriteSession } from "./write-session.ts";

/** Names one snapshot. */
export interface SnapshotPlace {
  workspaceId: string;
  id: string;
}

/** What is known of a snapshot when it is begun. */
export interface BeginOptions {
  workspaceId: string;
  /** Fencing: counts the workspace's machines. An older one than the newest snapshot's is refused. */
  generation: number;
  reason: SnapshotReason;
  /** The snapshot whose images this one's start from, also of another workspace; null to start from zeros. */
  parent: SnapshotPlace | null;
  /** Named snapshots are never removed by retention. */
  name?: string | null;
  /** Compute's: what must be the same where the machine is restored. */
  compatibility?: JsonObject;
  /** The organisation's key; without one, blocks are stored unsealed. */
  key?: StorageKey;
  /** Cancels everything the writer does. */
  signal?: AbortSignal;
}

/**
 * Writes one snapshot. What is not opened is not in the snapshot; what is opened and
 * not written equals the parent's. Nothing is visible before {@link publish} resolves.
 */
export interface SnapshotWriter extends AsyncDisposable {
  readonly id: string;
  /** The guest's memory. */
  memory(bytes: number): ImageWriter;
  /** A disk, by its name. */
  disk(name: string, bytes: number): ImageWriter;
  /** The state of the devices, at most 64 MiB. */
  devices(bytes: Uint8Array): Promise<void>;
  /** For people: a summary of git, of processes. Stored unsealed: nothing secret belongs here. */
  facts(facts: JsonObject): void;
  /**
   * Makes the snapshot visible, whole. On failure it is not, and `abort` has been done.
   * @throws DormouseError `aborted` when a newer generation has published or a pack is gone.
   */
  publish(): Promise<SnapshotManifest>;
  /**
   * Gives up and removes what was stored; disposal calls it. Once `publish` was called it
   * only waits for its end, which the signal can hasten.
   */
  abort(): Promise<void>;
}

const maxDeviceBytes = 64 * 1024 * 1024;
const memoryName = "memory";

/** Begins a snapshot: checks the generation, reads and verifies the parent's manifest. */
export async function beginSnapshot(settings: Settings, options: BeginOptions): Promise<SnapshotWriter> {
  const { objects } = settings;
  const { workspaceId, generation, signal } = options;
  const begunMs = settings.clock.nowMs();
  const cipher = options.key && createCipher(options.key);
  const newest = await assertNewest(settings, options);
  const parent = options.parent ? await openParent(settings, options.parent, options) : undefined;
  // Also where clocks differ a bit, the later snapshot of a generation has the later id.
  const createdMs = Math.max(begunMs, newest?.generation === generation ? newest.createdMs + 1 : 0);
  const id = createSnapshotId(generation, createdMs);
  const session = openWriteSession(settings, { parent, cipher, signal });
  const key = snapshotKey(workspaceId, id);

  let state: "open" | "publishing" | "published" | "aborted" = "open";
  let publishing: Promise<SnapshotManifest> | undefined;
  let facts: JsonObject = {};
  let devices: { bytes: number; blocks: BlockRef[] } = { bytes: 0, blocks: [] };
  const diskNames: string[] = [];
  const assertOpen = () => {
    signal?.throwIfAborted();
    if (state === "open") return;
    throw new DormouseError("failed_precondition", `snapshot ${id} is ${state}: nothing can be added`);
  };

  function manifestOf(written: Awaited<ReturnType<WriteSession["finish"]>>): SnapshotManifest {
    const image = (name: string) => written.images.get(name) ?? null;
    const disks = diskNames.map((name) => ({ name, ...(image(diskImage(name)) as StoredImage) }));
    const logicalBytes = [...written.images.values()].reduce((sum, { bytes }) => sum + bytes, devices.bytes);
    return {
      kind: "snapshot",
      formatVersion: 1,
      createdBy: settings.createdBy,
      id,
      workspaceId,
      generation,
      createdMs,
      name: options.name ?? null,
      reason: options.reason,
      parent: parent
        ? { workspaceId: parent.manifest.workspaceId, id: parent.manifest.id, sha256: parent.sha256 }
        : null,
      compatibility: options.compatibility ?? {},
      devices,
      memory: image(memoryName),
      disks,
      packs: written.packs,
      keyId: cipher?.keyId ?? null,
      keys: written.keys,
      sizes: { storedBytes: written.storedBytes, logicalBytes },
      facts,
    };
  }

  async function giveUp(): Promise<void> {
    state = "aborted";
    await session.abort();
  }

  async function abort(): Promise<void> {
    // `return writer.publish()` disposes of the writer before it is done: that must not undo it.
    await publishing?.catch(() => {});
    if (state === "open") await giveUp();
  }

  /** Everything up to the manifest; what fails here leaves nothing. */
  async function prepare(): Promise<{ manifest: SnapshotManifest; bytes: Buffer }> {
    const manifest = manifestOf(await session.finish());
    const { bytes } = encodeManifest(manifest, cipher);
    // What could not be read must not be published: `facts` and `compatibility` are the caller's.
    decodeManifest(bytes, key);
    await assertNewest(settings, options);
    const tookMs = settings.clock.nowMs() - begunMs;
    if (tookMs > settings.maxWriteMs) {
      throw new DormouseError(
        "deadline_exceeded",
        `snapshot ${id} took ${tookMs} ms to write; after ${settings.maxWriteMs} ms its packs are no longer safe from collection`,
      );
    }
    return { manifest, bytes };
  }

  /**
   * When a put fails nobody can say whether the manifest is there or still on its way.
   * It is removed if it can be, but its packs stay: if it does appear, it is whole, and
   * otherwise they are garbage.
   */
  async function putManifest(bytes: Buffer): Promise<void> {
    try {
      await objects.put(key, bytes, { ifAbsent: true, signal });
    } catch (caught) {
      const error = DormouseError.from(caught, signal?.aborted ? "cancelled" : "internal");
      if (error.code === "already_exists") {
        // An attempt of this very put that seemed to have failed: the id is random.
        const found = await objects.get(key, { length: bytes.length + 1 });
        if (found.equals(bytes)) return;
      } else {
        await objects.remove([key]).catch(() => {});
      }
      throw error;
    }
  }

  async function publish(): Promise<SnapshotManifest> {
    let prepared: Awaited<ReturnType<typeof prepare>>;
    try {
      prepared = await prepare();
    } catch (error) {
      await giveUp();
      throw DormouseError.from(error, signal?.aborted ? "cancelled" : "internal");
    }
    state = "published";
    await putManifest(prepared.bytes);
    return prepared.manifest;
  }

  return {
    id,
    memory(bytes) {
      assertOpen();
      return session.image(memoryName, bytes, parent?.manifest.memory ?? undefined);
    },
    disk(name, bytes) {
      assertOpen();
      if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
        throw new DormouseError(
          "invalid_argument",
          `disk ${JSON.stringify(name)}: a name is 1 to 64 of A-Z a-z 0-9 . _ -`,
        );
      }
      const image = session.image(
        diskImage(name),
        bytes,
        parent?.manifest.disks.find((disk) => disk.name === name),
      );
      diskNames.push(name);
      return image;
    },
    async devices(bytes) {
      assertOpen();
      if (bytes.length > maxDeviceBytes) {
        throw new DormouseError(
          "invalid_argument",
          `${bytes.length} bytes of device state: ${maxDeviceBytes} is the limit`,
        );
      }
      if (devices.blocks.length > 0) throw new DormouseError("already_exists", "the devices' state is there already");
      devices = { bytes: bytes.length, blocks: await session.blob(bytes, parent?.manifest.devices.blocks ?? []) };
    },
    facts(value) {
      assertOpen();
      facts = value;
    },
    async publish() {
      assertOpen();
      state = "publishing";
      publishing = publish();
      return publishing;
    },
    abort,
    [Symbol.asyncDispose]: abort,
  };
}

function diskImage(name: string): string {
  return `disk ${name}`;
}

/** The newest snapshot's facts, unless it is of a newer generation. */
async function assertNewest(settings: Settings, { workspaceId, generation, signal }: BeginOptions) {
  const newestId = (await snapshotIds(settings.objects, workspaceId, signal)).at(-1);
  const newest = newestId === undefined ? undefined : parseSnapshotId(newestId);
  if (!newest || newest.generation <= generation) return newest;
  throw new DormouseError(
    "aborted",
    `generation ${generation} of workspace ${workspaceId} may not publish: ${newestId} is of generation ${newest.generation}`,
    { details: { generation, newestGeneration: newest.generation } },
  );
}

async function openParent(
  settings: Settings,
  place: SnapshotPlace,
  { key, signal }: BeginOptions,
): Promise<OpenManifest<SnapshotManifest>> {
  const verified = await readSnapshotManifest(settings.objects, place, signal);
  const name = `snapshot ${place.id} of ${place.workspaceId}`;
  // The key at hand need not be looked up.
  const findKey: Settings["findKey"] = (id) => (id === key?.id ? key : settings.findKey(id));
  const parent = await openManifest(verified, name, { ...settings, findKey });
  if (parent.manifest.keys.length > 0 && !key) {
    throw new DormouseError(
      "failed_precondition",
      `parent ${name} is sealed with key ${parent.manifest.keys.map(({ id }) => id).join(", ")}: its child needs a key too`,
    );
  }
  return parent;
}

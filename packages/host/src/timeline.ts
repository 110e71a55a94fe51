import { chmod, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, type Logger } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type BlockReader, type Capture, readManifest } from "@dormouse/compute";
import { resources, type SnapshotInfo, type SnapshotRef, snapshotInfo, userName } from "@dormouse/contract";
import {
  blockBytes,
  defaultRetention,
  type ImageWriter,
  type OrganisationKeys,
  type RetentionPolicy,
  type SnapshotManifest,
  type SnapshotReader,
  type SnapshotStore,
  type SnapshotWriter,
  selectExpired,
} from "@dormouse/storage";
import { z } from "zod";
import type { GuestFacts } from "./guest-link.ts";
import type { TemplateFolder } from "./template-folder.ts";
import { decodeTouched } from "./touched.ts";

/** The one drive of a machine that is its own. */
const workspaceDisk = "workspace";
const garbageGraceMs = 3 * 3_600_000;
const pruneMs = 10 * 60_000;

/** What of a manifest's facts the API shows. */
const keptFacts = z.object({
  pauseMs: z.number().nullable().default(null),
  git: snapshotInfo.shape.git.default(null),
  processes: z.number().nullable().default(null),
});

/** What every machine of a template goes on with, wherever it does; the rest is in its snapshots. */
const sharedParts = ["kernel", "initramfs", "systemDrive", "baseImage"] as const;

const templateParts = z.object({
  name: z.string(),
  resources,
  createdMs: z.number(),
  artifactsHash: z.string(),
  /** SHA-256 by part. */
  files: z.partialRecord(z.enum(sharedParts), z.string()),
});

/** Of {@link Timeline.fetchTemplate}. */
export type TemplateParts = z.infer<typeof templateParts>;

const originFacts = z.object({ tokenSalt: z.string(), templateHash: z.string(), user: userName.optional() });

const touchedFacts = z.object({ touched: z.string() });

/** A moment to be kept, and what is known of it. */
export interface Moment {
  capture: Capture;
  workspaceId: string;
  /** Whose key seals it; undefined: the installation's. */
  organisationId: string | undefined;
  generation: number;
  reason: SnapshotInfo["reason"];
  name?: string | undefined;
  /** The snapshot that this one is a difference to; null: there is none. */
  parent: SnapshotRef | null;
  /** What the capture is a difference to itself, for when the parent is gone or was never there. */
  base: MomentBase;
  /** Resolves when the files of `base` are whole. */
  baseIsWhole: (signal?: AbortSignal) => Promise<void>;
  /** What the machine touched first when it came to life, as `encodeTouched` has it; null: that is not known. */
  touched: string | null;
  facts: GuestFacts;
  origin: MomentOrigin;
}

/** What a host must know of a snapshot to start from it, beside what is in it. */
export interface MomentOrigin {
  /** Of the agent's token at this moment. */
  tokenSalt: string;
  /** The template whose kernel, system drive and image the machine has. */
  templateHash: string;
  /** Whom its processes run as; undefined: the image's default user. */
  user?: string | undefined;
}

/** Files that a machine started from. */
export interface MomentBase {
  /** Null: zeros. */
  memory: string | null;
  disk: string;
}

export interface TimelineOptions {
  store: SnapshotStore;
  /** Default: nothing is sealed. */
  keys?: OrganisationKeys | undefined;
  retention?: RetentionPolicy;
  /** Other hosts have the store too, and will need what the machines in it are made from. Default: no. */
  sharesTemplates?: boolean;
  log: Logger;
}

/** Snapshots of this host's machines in the store, and the templates they begin from. */
export class Timeline {
  readonly #store: SnapshotStore;
  readonly #keys: OrganisationKeys | undefined;
  readonly #log: Logger;
  readonly #retention: RetentionPolicy;
  readonly #sharesTemplates: boolean;
  readonly #templates = new Map<string, Promise<SnapshotRef>>();
  readonly #prunedMs = new Map<string, number>();

  constructor(options: TimelineOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#log = options.log;
    this.#retention = options.retention ?? defaultRetention;
    this.#sharesTemplates = options.sharesTemplates ?? false;
  }

  /** Stores a capture; it is durable, and listed, when this resolves. On failure nothing of it is visible. */
  async keep(moment: Moment, signal?: AbortSignal): Promise<SnapshotInfo> {
    const { capture, facts, base, origin } = moment;
    await using writer = await this.#begin(moment, signal);
    const memory = writer.memory(capture.memory.bytes);
    const disk = writer.disk(workspaceDisk, capture.disk.bytes);
    if (writer.isWhole) {
      await moment.baseIsWhole(signal);
      if (base.memory !== null) await copyFile(base.memory, memory, signal);
      await copyFile(base.disk, disk, signal);
    }
    await copyBlocks(capture.memory, memory, signal);
    await copyBlocks(capture.disk, disk, signal);
    await writer.devices(capture.devices);
    writer.facts({
      ...facts,
      ...originFacts.parse(origin),
      pauseMs: Math.round(capture.pauseMs * 10) / 10,
      ...(moment.touched !== null && { touched: moment.touched }),
    });
    return toInfo(await writer.publish());
  }

  /** Of the difference to the parent; of the whole when the parent is gone, which its workspace's deletion can bring. */
  async #begin(moment: Moment, signal?: AbortSignal): Promise<SnapshotWriter & { isWhole: boolean }> {
    const { capture, workspaceId, organisationId, generation, reason, parent } = moment;
    const begin = (from: SnapshotRef | null) =>
      this.#store.begin({
        workspaceId,
        generation,
        reason,
        parent: from,
        name: moment.name ?? null,
        compatibility: { ...capture.identity, resources: { ...capture.identity.resources } },
        key: this.#keys?.of(organisationId),
        signal,
      });
    try {
      return Object.assign(await begin(parent), { isWhole: parent === null });
    } catch (caught) {
      if (parent === null || DormouseError.from(caught).code !== "not_found") throw caught;
      if (!capture.memory.isComplete) {
        throw new DormouseError(
          "failed_precondition",
          `the parent ${parent.id} is gone; only a first capture can do without`,
        );
      }
      return Object.assign(await begin(null), { isWhole: true });
    }
  }

  /** A workspace's kept moments, newest first. What cannot be read is left out with a warning. */
  async list(workspaceId: string): Promise<SnapshotInfo[]> {
    const { snapshots, damaged } = await this.#store.list(workspaceId);
    for (const { id, error } of damaged) this.#log.warn("snapshot cannot be read", { workspaceId, id, error });
    return snapshots.map(toInfo).reverse();
  }

  /**
   * For a machine of an organisation, or of nobody.
   * @throws DormouseError `not_found` naming it; `failed_precondition` for what another organisation's key seals.
   */
  async open(
    { workspaceId, id }: SnapshotRef,
    { organisationId, signal }: { organisationId: string | undefined; signal?: AbortSignal | undefined },
  ): Promise<SnapshotReader> {
    return await this.#store.open(workspaceId, id, {
      ...(signal && { signal }),
      ...(this.#keys && { keyIds: this.#keys.idsFor(organisationId) }),
    });
  }

  /** Whether machines of any organisation may start from it: the installation's own key seals it, or none. */
  isShared({ manifest }: SnapshotReader): boolean {
    return manifest.keyId === null || manifest.keyId === this.#keys?.of(undefined).id;
  }

  /** The drive in a snapshot. */
  diskOf(reader: SnapshotReader) {
    return reader.disk(workspaceDisk);
  }

  /** Blocks of memory that its machine touched first when it came to life: needed first again. None when that is not known. */
  touchedOf({ manifest, memory }: SnapshotReader): readonly number[] {
    const facts = touchedFacts.safeParse(manifest.facts);
    return facts.success && memory ? decodeTouched(facts.data.touched, Math.ceil(memory.bytes / blockBytes)) : [];
  }

  /** @throws DormouseError `data_loss` for a snapshot that does not say it. */
  originOf({ manifest }: SnapshotReader): MomentOrigin {
    const origin = originFacts.safeParse(manifest.facts);
    if (origin.success) return origin.data;
    throw new DormouseError("data_loss", `snapshot ${manifest.id} does not say what its machine was made from`);
  }

  /** @throws DormouseError `not_found` naming it when there is no such snapshot. */
  async remove({ workspaceId, id }: SnapshotRef): Promise<void> {
    await this.#store.open(workspaceId, id);
    await this.#store.remove(workspaceId, id);
  }

  /** What the workspace's snapshots take in the store. Reads every manifest of it. */
  async storedBytes(workspaceId: string): Promise<number> {
    return (await this.#store.usage(workspaceId)).storedBytes;
  }

  async removeAll(workspaceId: string): Promise<void> {
    this.#prunedMs.delete(workspaceId);
    const { snapshots, damaged } = await this.#store.list(workspaceId);
    for (const { id } of [...snapshots, ...damaged]) await this.#store.remove(workspaceId, id);
  }

  /**
   * Removes what retention does not keep, and answers what the rest takes in bytes. Reads every manifest of the workspace,
   * so it does nothing, and answers undefined, when it was tried a moment ago. What fails is only logged: whoever has
   * just kept a moment has it, and the next time tidies up.
   */
  async prune(workspaceId: string): Promise<number | undefined> {
    const nowMs = Date.now();
    if (nowMs - (this.#prunedMs.get(workspaceId) ?? 0) < pruneMs) return undefined;
    this.#prunedMs.set(workspaceId, nowMs);
    try {
      const { snapshots } = await this.#store.list(workspaceId);
      for (const { id } of selectExpired(snapshots, this.#retention, nowMs)) {
        await this.#store.remove(workspaceId, id);
      }
      return await this.storedBytes(workspaceId);
    } catch (error) {
      this.#log.warn("old snapshots were not removed", { workspaceId, error });
      return undefined;
    }
  }

  /** Removes what no snapshot needs any more. */
  async collectGarbage(signal?: AbortSignal): Promise<void> {
    const facts = await this.#store.collectGarbage({ graceMs: garbageGraceMs, signal });
    this.#log.info("garbage collected", { ...facts });
  }

  /** Hashes of the templates that any snapshot in the store was made from. @throws DormouseError `data_loss` when one cannot be read. */
  async neededTemplates(signal?: AbortSignal): Promise<Set<string>> {
    const hashes = new Set<string>();
    for await (const { facts } of this.#store.all(signal)) {
      const origin = originFacts.safeParse(facts);
      // A template's own is needed by nobody, and what does not say its origin cannot be started from.
      if (origin.success) hashes.add(origin.data.templateHash);
    }
    return hashes;
  }

  /** Whether other hosts find templates in the store. */
  get sharesTemplates(): boolean {
    return this.#sharesTemplates;
  }

  /** The template's own snapshots go; what lies in those that began with it stays. */
  async removeTemplate(hash: string): Promise<void> {
    this.#templates.delete(hash);
    await this.removeAll(templateWorkspace(hash));
  }

  /** The template as a snapshot, which machines' first snapshots begin from; stored once, whoever asks first. */
  async templateSnapshot(template: TemplateFolder): Promise<SnapshotRef> {
    const known = this.#templates.get(template.hash) ?? this.#storeTemplate(template);
    this.#templates.set(template.hash, known);
    // The next one tries again.
    known.catch(() => this.#templates.delete(template.hash));
    return await known;
  }

  async #storeTemplate(template: TemplateFolder): Promise<SnapshotRef> {
    const workspaceId = templateWorkspace(template.hash);
    const stored = await this.#store.latest(workspaceId);
    if (stored) return { workspaceId, id: stored.id };
    const facts = this.#sharesTemplates ? await this.#shareParts(template) : {};
    const manifest = await readManifest(template.memory);
    await using writer = await this.#store.begin({
      workspaceId,
      generation: 0,
      reason: "manual",
      name: template.name,
      parent: null,
      compatibility: { ...manifest.identity, resources: { ...manifest.identity.resources } },
      // Everybody's: what begins with it shares its blocks.
      key: this.#keys?.of(undefined),
    });
    const memory = join(template.memory, manifest.memory.name);
    await copyFile(memory, writer.memory((await stat(memory)).size));
    await copyFile(template.disk, writer.disk(workspaceDisk, (await stat(template.disk)).size));
    await copyDevices(join(template.memory, manifest.devices.name), writer);
    writer.facts(facts);
    const { id } = await writer.publish();
    this.#log.info("template stored", { template: template.name, hash: template.hash, id });
    return { workspaceId, id };
  }

  async #shareParts(template: TemplateFolder): Promise<TemplateParts> {
    const { name, resources, createdMs, artifacts } = template;
    const files: TemplateParts["files"] = {};
    const key = this.#keys?.of(undefined);
    for (const part of sharedParts) {
      files[part] = (await this.#store.putFile(artifacts[part], { ...(key && { key }) })).sha256;
    }
    return { name, resources, createdMs, artifactsHash: artifacts.hash, files };
  }

  /**
   * Fetches the parts of another host's template into a folder, each under its name.
   * @throws DormouseError `not_found` when the store does not have it.
   */
  async fetchTemplate(hash: string, folder: string, signal?: AbortSignal): Promise<TemplateParts> {
    const stored = await this.#store.latest(templateWorkspace(hash), signal);
    const parts = templateParts.safeParse(stored?.facts);
    if (!parts.success) {
      throw new DormouseError("not_found", `the template ${hash} is neither on this host nor whole in the store`);
    }
    for (const [part, sha256] of Object.entries(parts.data.files)) {
      const path = join(folder, part);
      await this.#store.getFile(sha256, path, { ...(signal && { signal }) });
      await chmod(path, 0o444);
    }
    return parts.data;
  }
}

const templateWorkspace = (hash: string) => `template-${hash}`;

function toInfo(manifest: SnapshotManifest): SnapshotInfo {
  const { id, workspaceId, generation, createdMs, name, reason, parent, sizes } = manifest;
  const facts = keptFacts.safeParse(manifest.facts);
  return {
    id,
    workspaceId,
    generation,
    createdMs,
    name,
    reason,
    parent: parent && { workspaceId: parent.workspaceId, id: parent.id },
    storedBytes: sizes.storedBytes,
    ...(facts.success ? facts.data : { pauseMs: null, git: null, processes: null }),
  };
}

async function copyBlocks(source: BlockReader, target: ImageWriter, signal?: AbortSignal): Promise<void> {
  await target.writeAll(source.blocks, async (block, data) => {
    signal?.throwIfAborted();
    await source.read(block, data);
  });
}

/** Copies the parts of a sparse file that hold something. */
async function copyFile(path: string, target: ImageWriter, signal?: AbortSignal): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, "r");
  try {
    await target.writeAll(await blocksWithData(path, size), async (block, data) => {
      signal?.throwIfAborted();
      await file.read(data, 0, data.length, block * blockBytes);
    });
  } finally {
    await file.close();
  }
}

async function copyDevices(path: string, writer: SnapshotWriter): Promise<void> {
  const file = await open(path, "r");
  try {
    await writer.devices(await file.readFile());
  } finally {
    await file.close();
  }
}

/**
 * Numbers of the blocks that lie in a file's extents, as `filefrag` of e2fsprogs names them: reading 16 GiB of nothing
 * to find a few megabytes takes seconds, and Node has no way to ask for holes.
 */
async function blocksWithData(path: string, size: number): Promise<number[]> {
  const { stdout } = await run("filefrag", ["-e", "-b1024", "-s", "--", path], { timeoutMs: 60_000 });
  const blocks = new Set<number>();
  for (const [, first = "", last = ""] of stdout.matchAll(/^\s*\d+:\s*(\d+)\.\.\s*(\d+):/gm)) {
    const end = Math.min(size, (Number(last) + 1) * 1024);
    for (let at = Math.floor((Number(first) * 1024) / blockBytes); at * blockBytes < end; at++) blocks.add(at);
  }
  if (blocks.size === 0 && !/ 0 extents? found/.test(stdout)) {
    throw new DormouseError("internal", `filefrag says nothing known of ${path}: ${stdout.slice(0, 500)}`);
  }
  return [...blocks].sort((a, b) => a - b);
}

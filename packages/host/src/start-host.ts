import { X509Certificate } from "node:crypto";
import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { DormouseError, disposer, type Logger } from "@dormouse/base";
import { createLanes } from "@dormouse/compute";
import {
  createCachedStore,
  createFileStore,
  createSnapshotStore,
  type ObjectStore,
  organisationKeys,
} from "@dormouse/storage";
import { createAgentTokens } from "./agent-token.ts";
import type { HostConfig } from "./config.ts";
import { EgressLog } from "./egress-log.ts";
import { createGuestLink } from "./guest-link.ts";
import { HostService } from "./host-service.ts";
import { ImageTemplates } from "./image-templates.ts";
import { MachineStore } from "./machine-record.ts";
import { createMachineStarter } from "./machine-starter.ts";
import { Moments } from "./moments.ts";
import { openRuntime, openVmm } from "./runtime.ts";
import { startServer } from "./server.ts";
import { loadTemplates } from "./template-folder.ts";
import { Templates } from "./templates.ts";
import { Timeline } from "./timeline.ts";
import { removeUnused } from "./unused.ts";

/** A running host daemon. */
export interface RunningHost {
  url: string;
  /** Ends it; machines are put to sleep, or run on for the next daemon to adopt. */
  stop(options: { hibernate: boolean }): Promise<void>;
}

/** What runs on this host, without a door to it. */
export interface OpenHost {
  service: HostService;
  images: ImageTemplates;
  /** Ends it; machines are put to sleep, or run on for the next one to adopt. */
  stop(options: { hibernate: boolean }): Promise<void>;
}

/** What tests and measurements have otherwise than a daemon. */
export interface HostParts {
  /** Where snapshots lie; default: as configured. */
  objects?: ObjectStore;
  /** Whether machines wait until all that they start from is there; default: only where they must. */
  waitsForWhole?: boolean;
}

const mib = 1024 * 1024;

/**
 * Opens a host and serves it. What an earlier daemon left running is adopted.
 * @throws DormouseError `failed_precondition` when the base template has not been made yet.
 */
export async function startHost(config: HostConfig, log: Logger): Promise<RunningHost> {
  const host = await openHost(config, log);
  const { service, images } = host;
  await using stack = disposer();
  stack.add(() => host.stop({ hibernate: false }));
  const server = await startServer({ service, images, token: config.token, listen: config.listen, log });
  stack.release();
  service.begin();
  log.info("host is ready", { url: server.url, machines: service.list().length });
  return {
    url: server.url,
    async stop(options) {
      await server.close();
      await host.stop(options);
    },
  };
}

/**
 * Composes the runtime. What an earlier daemon left running is adopted.
 * @throws DormouseError `failed_precondition` when the base template has not been made yet.
 */
export async function openHost(config: HostConfig, log: Logger, parts: HostParts = {}): Promise<OpenHost> {
  await using stack = disposer();
  const { cacheDir, dataDir, namePrefix, resolver, slotsAhead, vmmsAhead } = config;
  const known = await loadTemplates(cacheDir, log);
  const base = known.find((candidate) => candidate.hash === config.templateHash);
  if (!base) {
    throw new DormouseError("failed_precondition", `there is no base template ${config.templateHash} in ${cacheDir}`);
  }
  const opening = openVmm({ dataDir, cacheDir, artifacts: base.artifacts });
  const runtime = await openRuntime({
    ...{ vmm: opening, namePrefix, cacheDir, resolver, slotsAhead, vmmsAhead, log },
    authoritySecret: config.agentSecret,
    extraRoots: await readRoots(config.extraRootsFile),
  });
  const { vmm, slots, early } = runtime;
  stack.add(() => vmm.close());
  stack.add(() => runtime.close());
  const lanes = createLanes({
    cores: availableParallelism(),
    vcpusPerCore: config.vcpusPerCore,
    memoryOvercommit: config.memoryOvercommit,
    memoryMib: Math.max(0, totalmem() / mib - config.reservedMemoryMib),
    overheadMib: vmm.capabilities.overheadMib,
  });
  const store = new MachineStore(join(dataDir, "machines"));
  const timeline = openTimeline(config, parts.objects ?? (await openObjects(config)), log);
  const needed = (await store.load(log)).map(({ templateHash }) => templateHash);
  const templates = await Templates.open({ cacheDir, base, known, timeline, log }, needed);
  const template = (hash: string) => templates.get(hash);
  const starter = createMachineStarter({ vmm, lanes, slots, early, store, template, log });
  const partialFiles = parts.waitsForWhole ? undefined : vmm.partialFiles;
  if (!partialFiles && !parts.waitsForWhole) {
    log.warn("machines wait for all that they start from", { reason: vmm.capabilities.partialFilesProblem });
  }
  const moments = new Moments({ store, timeline, templates, partialFiles, log });
  const guest = createGuestLink();
  const { registry } = config;
  const images = new ImageTemplates({ cacheDir, templates, registry, vmm, slots, lanes, guest });
  const service = await HostService.start({
    store,
    starter,
    guest,
    templates,
    images,
    timeline,
    moments,
    tokens: createAgentTokens(config.agentSecret),
    egress: slots.egress,
    egressLog: await EgressLog.open(join(dataDir, "egress"), log),
    snapshotEveryMs: config.snapshotEveryMs,
    poolSize: config.poolSize,
    async removeUnused(signal) {
      const { unusedForMs } = config;
      if (unusedForMs > 0) await removeUnused({ cacheDir, dataDir, templates, timeline, unusedForMs, log, signal });
    },
    capacity: async () => {
      const disk = await statfs(dataDir);
      const counts = slots.counts();
      const total = counts.prepared + counts.allocated + counts.leftover + counts.releasing + counts.free;
      return {
        ...lanes.facts(),
        diskFreeBytes: disk.bavail * disk.bsize,
        slots: { total, free: counts.prepared + counts.free },
      };
    },
    log,
  });
  await runtime.reclaim({ machineIds: service.machineIds(), slotIndexes: service.slotIndexes() });
  stack.release();
  early.refill();
  return {
    service,
    images,
    async stop({ hibernate }) {
      await service.stop({ hibernate });
      await runtime.close({ keep: service.slotIndexes() });
      await vmm.close();
    },
  };
}

async function readRoots(file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  const text = await readFile(file, "utf8");
  const roots = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  for (const root of roots) new X509Certificate(root);
  if (roots.length > 0) return roots;
  throw new DormouseError("invalid_argument", `extraRootsFile is ${file}: there is no certificate in it, as PEM`);
}

async function openObjects({ snapshotStore, snapshotCacheMib, dataDir }: HostConfig): Promise<ObjectStore> {
  if (snapshotStore?.kind !== "s3") {
    return await createFileStore({ folder: snapshotStore?.folder ?? join(dataDir, "snapshots") });
  }
  return await createCachedStore({
    objects: await openS3(snapshotStore),
    folder: join(dataDir, "snapshot-cache"),
    maxBytes: snapshotCacheMib * mib,
  });
}

function openTimeline(config: HostConfig, objects: ObjectStore, log: Logger): Timeline {
  const { snapshotStore, snapshotKey } = config;
  const keys =
    snapshotKey && organisationKeys({ id: snapshotKey.id, bytes: Buffer.from(snapshotKey.secret, "base64") });
  const store = createSnapshotStore({ objects, ...(keys && { findKey: keys.find }) });
  const retention = { tiers: config.retention };
  return new Timeline({ store, keys, retention, sharesTemplates: snapshotStore !== undefined, log });
}

type S3Settings = Extract<NonNullable<HostConfig["snapshotStore"]>, { kind: "s3" }>;

async function openS3(settings: S3Settings): Promise<ObjectStore> {
  const { createS3Store } = await import("@dormouse/storage/s3");
  return createS3Store({ ...settings, isPathStyle: settings.endpoint !== undefined });
}

import { randomBytes, randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, disposer, type Logger, type Progress } from "@dormouse/base";
import { contentHash, withFileLock, writeFileAtomic } from "@dormouse/base/node";
import type { Vmm } from "@dormouse/compute";
import { resources } from "@dormouse/contract";
import { type Artifacts, cloneDisk } from "@dormouse/image";
import type { SlotPool } from "@dormouse/network";
import { z } from "zod";
import { openConnections } from "./guest-address.ts";
import type { GuestLink, Identity } from "./guest-link.ts";
import { isAgentUp } from "./machine-starter.ts";

const templateFile = z.object({
  version: z.literal(1),
  name: z.string(),
  hash: z.string(),
  createdMs: z.number(),
  resources,
  /** What the agent takes right after a restore; replaced before user code runs. */
  bootToken: z.string(),
  artifacts: z.object({
    kernel: z.string(),
    initramfs: z.string(),
    systemDrive: z.string(),
    baseImage: z.string(),
    blankDisk: z.string(),
    hash: z.string(),
  }),
});

/** A template on this host's disk, and where its parts lie. */
export interface TemplateFolder extends z.infer<typeof templateFile> {
  /** Folder of memory and device state, as the VMM wrote it. */
  memory: string;
  /** The workspace drive at the moment of the snapshot; cloned for each machine. */
  disk: string;
}

/** What templates are made with. */
export const templateResources = { vcpus: 1, memoryMib: 1024, diskGib: 16 } as const;

// Raised when the way a template is made changes and its inputs do not.
const recipe = "9";

/** So often that the agent's engine has compiled what every create and exec runs through. */
export const warmRounds = 40;

/** A folder that is there, in which the warming user may write. */
const warmFolders: Readonly<Record<TemplateKind, string>> = { base: "/workspace", image: "/tmp" };

const machineIdOf = (hash: string) => `template-${hash}`;

/** All templates in the cache; ones that cannot be read are left out with a warning. */
export async function loadTemplates(cacheDir: string, log: Logger): Promise<TemplateFolder[]> {
  const names = await readdir(cacheDir).catch(() => []);
  const templates: TemplateFolder[] = [];
  for (const name of names.filter((candidate) => /^template-[a-z0-9-]+-[0-9a-f]{24}$/.test(candidate))) {
    try {
      templates.push(await readTemplate(join(cacheDir, name)));
    } catch (error) {
      log.warn("template cannot be read", { name, error: DormouseError.from(error) });
    }
  }
  return templates.sort((a, b) => b.createdMs - a.createdMs);
}

/** What a template is made from: the image that ships with the product, or one that a repository names. */
export type TemplateKind = "base" | "image";

export interface EnsureTemplateOptions {
  kind: TemplateKind;
  cacheDir: string;
  /** With the template's own image as the base image. */
  artifacts: Artifacts;
  vmm: Vmm;
  slots: SlotPool;
  guest: GuestLink;
  progress: Progress;
  signal?: AbortSignal;
}

/** The content hash of the template that these artefacts and this VMM give. */
export async function templateHash(artifacts: Artifacts, vmm: Vmm): Promise<string> {
  const { version, accelerator } = vmm.capabilities;
  return await contentHash(recipe, artifacts.hash, version, accelerator, JSON.stringify(templateResources));
}

/**
 * A template: boots its image once, warms the agent with the requests a first user sends, and snapshots it. Made once per
 * content hash; concurrent callers make it once.
 */
export async function ensureTemplate(options: EnsureTemplateOptions): Promise<TemplateFolder> {
  const { kind, cacheDir, artifacts, vmm, signal } = options;
  const hash = await templateHash(artifacts, vmm);
  const name = `template-${kind}-${hash}`;
  const folder = join(cacheDir, name);
  const known = await readTemplate(folder).catch(() => undefined);
  if (known) return known;
  await mkdir(cacheDir, { recursive: true, mode: 0o755 });
  return await withFileLock(
    join(cacheDir, `template-${kind}.lock`),
    async () => {
      const meanwhile = await readTemplate(folder).catch(() => undefined);
      if (meanwhile) return meanwhile;
      // Who holds the lock is the only builder: what is still here belongs to one that died.
      await vmm.reclaim(machineIdOf(hash));
      for (const entry of await readdir(cacheDir)) {
        if (entry.startsWith(`${name}.`)) await rm(join(cacheDir, entry), { recursive: true, force: true });
      }
      return await makeTemplate(options, hash, folder);
    },
    { signal },
  );
}

async function makeTemplate(options: EnsureTemplateOptions, hash: string, folder: string): Promise<TemplateFolder> {
  const { kind, artifacts, vmm, slots, guest, progress, signal } = options;
  const startedMs = Date.now();
  const title =
    kind === "base" ? "Booting and snapshotting the base template" : "Booting the image and snapshotting it";
  const report = (state: "started" | "done" | "failed", message = title) =>
    progress({ step: `template.${kind}`, state, message, elapsedMs: Date.now() - startedMs });
  report("started");
  await using stack = disposer();
  const building = `${folder}.${randomBytes(4).toString("hex")}.building`;
  stack.add(() => rm(building, { recursive: true, force: true }));
  try {
    await mkdir(building, { mode: 0o711 });
    const slot = await slots.allocate({ signal });
    stack.add(() => slots.release(slot));
    const bootToken = randomBytes(32).toString("hex");
    const disk = join(building, "disk.ext4");
    await cloneDisk(artifacts.blankDisk, disk);
    const connections = openConnections(slot.address, () => bootToken);
    stack.add(() => connections.close());
    const drives = { system: artifacts.systemDrive, image: artifacts.baseImage, workspace: disk };
    const { kernel, initramfs } = artifacts;
    await vmm.bootTemplate(
      {
        id: machineIdOf(hash),
        resources: templateResources,
        slot,
        drives,
        kernel,
        initramfs,
        kernelParameters: [`dormouse.token=${bootToken}`],
      },
      {
        dir: join(building, "memory"),
        isReady: (ready) => isAgentUp(slot.address, ready),
        warm: async () => {
          await guest.warm({ ...connections, token: bootToken }, warmIdentity(bootToken, warmFolders[kind]), {
            rounds: warmRounds,
            signal,
          });
          // A connection that is open in a template is found broken in every machine made from it, by code that is cold.
          connections.close();
        },
        signal,
      },
    );
    // The drives of all machines lie on it, under users of their own.
    await chmod(disk, 0o444);
    const file = {
      version: 1 as const,
      name: kind === "base" ? "base" : `image-${hash}`,
      hash,
      createdMs: Date.now(),
      resources: templateResources,
      bootToken,
      artifacts,
    };
    await writeTemplateFile(building, file);
    // Machines' own users reach the memory by its name; nobody but root lists the folder.
    await chmod(building, 0o711);
    await rename(building, folder);
  } catch (error) {
    report("failed", DormouseError.from(error).message);
    throw error;
  }
  report("done");
  return await readTemplate(folder);
}

/** Makes a folder a template's: the last thing that is written into it. */
export async function writeTemplateFile(folder: string, file: z.infer<typeof templateFile>): Promise<void> {
  await writeFileAtomic(join(folder, "template.json"), JSON.stringify(file), { mode: 0o600 });
}

/** Nobody's identity: every machine gets its own before user code runs. The token stays what it is. */
function warmIdentity(token: string, folder: string): Identity {
  return {
    token,
    hostname: "dormouse",
    machineId: "0".repeat(32),
    bootId: randomUUID(),
    env: {},
    folder,
    user: undefined,
  };
}

/** @throws when there is none, or one that cannot be read. */
export async function readTemplate(folder: string): Promise<TemplateFolder> {
  const file = templateFile.parse(JSON.parse(await readFile(join(folder, "template.json"), "utf8")));
  return { ...file, memory: join(folder, "memory"), disk: join(folder, "disk.ext4") };
}

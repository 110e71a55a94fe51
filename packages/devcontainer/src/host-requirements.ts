import { DormouseError, formatBytes } from "@dormouse/base";
import type { GpuRequirement, HostRequirements } from "./config.ts";

/** Requirements in numbers. */
export interface ParsedHostRequirements {
  cpus?: number;
  memoryBytes?: number;
  storageBytes?: number;
  gpu: "none" | "optional" | "required";
  gpuCores?: number;
  gpuMemoryBytes?: number;
}

/** What a machine offers. */
export interface HostResources {
  cpus: number;
  memoryBytes: number;
  storageBytes: number;
  gpu?: { cores: number; memoryBytes: number };
}

/** One requirement that is not met. */
export interface MissingResource {
  resource: "cpus" | "memory" | "storage" | "gpu" | "gpu.cores" | "gpu.memory";
  needed: number;
  available: number;
  /** `memory: 8 GiB are needed, 4 GiB are there`. */
  message: string;
}

const unitBytes: Readonly<Record<string, number>> = { "": 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3, tb: 1024 ** 4 };

/**
 * Reads `8gb`, `512mb`, `1024` into bytes; units are powers of 1024.
 * @throws DormouseError `invalid_argument`.
 */
export function parseSize(text: string): number {
  const [, amount, unit = ""] = /^(\d+)([tgmk]b)?$/.exec(text) ?? [];
  if (amount === undefined) {
    throw new DormouseError(
      "invalid_argument",
      `size is ${JSON.stringify(text)}: must be a size such as "8gb", in tb, gb, mb, kb or bytes`,
    );
  }
  return Number(amount) * (unitBytes[unit] ?? 1);
}

/**
 * `hostRequirements` in numbers ("Minimum host requirements").
 * @throws DormouseError `invalid_argument` for a size that is none.
 */
export function parseHostRequirements(requirements: HostRequirements = {}): ParsedHostRequirements {
  const { cpus, memory, storage, gpu = false } = requirements;
  const parsed: ParsedHostRequirements = { gpu: gpu === "optional" ? "optional" : gpu === false ? "none" : "required" };
  if (cpus !== undefined) parsed.cpus = cpus;
  if (memory !== undefined) parsed.memoryBytes = parseSize(memory);
  if (storage !== undefined) parsed.storageBytes = parseSize(storage);
  if (typeof gpu === "object") {
    if (gpu.cores !== undefined) parsed.gpuCores = gpu.cores;
    if (gpu.memory !== undefined) parsed.gpuMemoryBytes = parseSize(gpu.memory);
  }
  return parsed;
}

/** What is missing of `requirements` on a machine with `resources`; empty when it will do. */
export function missingResources(requirements: ParsedHostRequirements, resources: HostResources): MissingResource[] {
  const missing: MissingResource[] = [];
  const compare = (
    resource: MissingResource["resource"],
    needed: number | undefined,
    available: number,
    format: (amount: number) => string = String,
  ) => {
    if (needed === undefined || needed <= available) return;
    const message = `${resource}: ${format(needed)} needed, ${format(available)} there`;
    missing.push({ resource, needed, available, message });
  };
  compare("cpus", requirements.cpus, resources.cpus);
  compare("memory", requirements.memoryBytes, resources.memoryBytes, formatBytes);
  compare("storage", requirements.storageBytes, resources.storageBytes, formatBytes);
  if (requirements.gpu === "required") {
    compare("gpu", 1, resources.gpu ? 1 : 0);
    if (resources.gpu) {
      compare("gpu.cores", requirements.gpuCores, resources.gpu.cores);
      compare("gpu.memory", requirements.gpuMemoryBytes, resources.gpu.memoryBytes, formatBytes);
    }
  }
  return missing;
}

/** Requirements that meet both: the larger value of each ("Merge logic"). */
export function maxRequirements(a: HostRequirements = {}, b: HostRequirements = {}): HostRequirements {
  const merged: HostRequirements = {};
  const cpus = Math.max(a.cpus ?? 0, b.cpus ?? 0);
  const memory = largerSize(a.memory, b.memory);
  const storage = largerSize(a.storage, b.storage);
  const gpu = strongerGpu(a.gpu, b.gpu);
  if (cpus > 0) merged.cpus = cpus;
  if (memory !== undefined) merged.memory = memory;
  if (storage !== undefined) merged.storage = storage;
  if (gpu !== undefined) merged.gpu = gpu;
  return merged;
}

function largerSize(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return parseSize(a) > parseSize(b) ? a : b;
}

/** Properties ask for more than a plain yes, a yes for more than a wish, a wish for more than a no. */
function strongerGpu(a: GpuRequirement | undefined, b: GpuRequirement | undefined): GpuRequirement | undefined {
  if (typeof a === "object" && typeof b === "object") {
    const cores = Math.max(a.cores ?? 0, b.cores ?? 0);
    const memory = largerSize(a.memory, b.memory);
    return { ...(cores > 0 ? { cores } : {}), ...(memory === undefined ? {} : { memory }) };
  }
  return gpuRank(a) > gpuRank(b) ? a : b;
}

function gpuRank(gpu: GpuRequirement | undefined): number {
  if (gpu === undefined) return 0;
  if (gpu === false) return 1;
  return gpu === "optional" ? 2 : gpu === true ? 3 : 4;
}

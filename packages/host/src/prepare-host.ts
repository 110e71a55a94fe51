import { createLogger, disposer, type Logger, type Progress } from "@dormouse/base";
import { schemaFiles } from "@dormouse/devcontainer";
import { buildGuest } from "@dormouse/guest";
import { buildArtifacts } from "@dormouse/image";
import { createGuestLink } from "./guest-link.ts";
import { openRuntime, openVmm } from "./runtime.ts";
import { ensureTemplate, templateHash as hashOfTemplate, loadTemplates, templateResources } from "./template-folder.ts";

/** What {@link prepareHost} made or found. */
export interface PreparedHost {
  /** Content hash of the `base` template that the daemon shall start from. */
  templateHash: string;
}

/**
 * Builds everything a host starts machines from and that is not in the cache yet:
 * kernel, initramfs, drives, base image and the `base` template. Needs root.
 */
export async function prepareHost(options: {
  cacheDir: string;
  /** The Node that the agent runs on. */
  nodeBinary: string;
  /** Prefix of the network namespaces used while building; another than the running platform's. */
  namePrefix: string;
  progress: Progress;
  signal?: AbortSignal;
  log?: Logger;
}): Promise<PreparedHost> {
  const { cacheDir, nodeBinary, progress, signal } = options;
  const log = options.log ?? createLogger({ level: "error", write: (line) => process.stderr.write(`${line}\n`) });
  const { initBinary, agentFile } = await buildGuest({ cacheDir, signal });
  const inputs = { initBinary, agentFile, nodeBinary, schemas: schemaFiles, diskSizeGib: templateResources.diskGib };
  const artifacts = await buildArtifacts(inputs, { cacheDir, progress, signal });
  await using stack = disposer();
  const vmm = await openVmm({ dataDir: cacheDir, cacheDir, artifacts, signal });
  stack.add(() => vmm.close());
  const templateHash = await hashOfTemplate(artifacts, vmm);
  const known = await loadTemplates(cacheDir, log);
  if (known.some((template) => template.hash === templateHash)) return { templateHash };
  const { namePrefix } = options;
  const runtime = await openRuntime({ vmm, namePrefix, cacheDir, slotsAhead: 1, vmmsAhead: 0, log });
  stack.add(() => runtime.close());
  // Another platform may be building in the same cache: its machine is not ours to end.
  await runtime.slots.reclaim([]);
  const guest = createGuestLink();
  await ensureTemplate({ kind: "base", cacheDir, artifacts, vmm, slots: runtime.slots, guest, progress, signal });
  return { templateHash };
}

import { chmod, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLogger } from "@dormouse/base";
import { closedEgress } from "@dormouse/contract";
import { createFileStore, type ObjectStore } from "@dormouse/storage";
import { hostConfig } from "../config.ts";
import { prepareHost } from "../prepare-host.ts";
import { type OpenHost, openHost } from "../start-host.ts";
import { atDistance, type Distance, nearby } from "./slow-store.ts";

/** Hosts in this process, one after the other over the same data, whose store can be put at a distance. */
export interface HostsInProcess extends AsyncDisposable {
  readonly distance: Distance;
  readonly dataDir: string;
  /** What has been logged, a line each. */
  readonly lines: string[];
  /** Opens the next one; the one before must have stopped. */
  open(options?: { waitsForWhole?: boolean }): Promise<OpenHost>;
}

/** Where their machines' workspaces begin. */
export const machineDefaults = {
  template: "base",
  hostname: "lazy",
  resources: { vcpus: 1, memoryMib: 1024, diskGib: 16 },
  env: {},
  folder: "/workspace",
  isKept: false,
  egress: closedEgress,
};

/** Makes the base template when it is not in the cache; needs root. */
export async function hostsInProcess(namePrefix: string): Promise<HostsInProcess> {
  const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
  const nodeBinary = fileURLToPath(new URL("../../../../node_modules/node/bin/node", import.meta.url));
  const lines: string[] = [];
  const log = createLogger({ write: (line) => void lines.push(line) });
  const { templateHash } = await prepareHost({ cacheDir, nodeBinary, namePrefix, progress: () => {}, log });
  const dataDir = await mkdtemp("/var/tmp/dormouse-host-");
  // Machines run as users of their own and must be able to enter.
  await chmod(dataDir, 0o711);
  const distance = nearby();
  const objects: ObjectStore = atDistance(await createFileStore({ folder: join(dataDir, "snapshots") }), distance);
  const secret = "0".repeat(32);
  const config = hostConfig.parse({
    ...{ dataDir, cacheDir, templateHash, namePrefix, listen: {}, token: secret, agentSecret: secret },
    ...{ poolSize: 0, slotsAhead: 2, vmmsAhead: 0, snapshotEveryMs: 0, reservedMemoryMib: 512 },
  });
  return {
    distance,
    dataDir,
    lines,
    open: (options) => openHost(config, log, { objects, ...options }),
    [Symbol.asyncDispose]: () => rm(dataDir, { recursive: true, force: true }),
  };
}

import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Platform, type PlatformOptions, startPlatform } from "@dormouse/cli/platform";
import type { MachineInfo } from "@dormouse/contract";
import { Connection } from "@dormouse/sdk";

/** A platform to measure on. */
export interface BenchPlatform {
  platform: Platform;
  connection: Connection;
  /** What the host itself says of its machines. */
  machines(): Promise<MachineInfo[]>;
}

/** Runs `measure` on a platform of its own, which takes snapshots only when it is asked to and is gone afterwards. */
export async function withPlatform<T>(
  options: { poolSize: number; memoryOvercommit?: number; registry?: PlatformOptions["registry"]; resolver?: string },
  measure: (platform: BenchPlatform) => Promise<T>,
): Promise<T> {
  const dataDir = await mkdtemp("/var/tmp/dormouse-bench-");
  // Machines and PostgreSQL run as users of their own and must be able to enter.
  await chmod(dataDir, 0o711);
  let platform: Platform | undefined;
  try {
    platform = await startPlatform({
      dataDir,
      cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse",
      listen: { address: "127.0.0.1", port: 0 },
      poolSize: options.poolSize,
      memoryOvercommit: options.memoryOvercommit,
      registry: options.registry,
      resolver: options.resolver,
      egressMode: "open",
      snapshotEveryMs: 0,
      namePrefix: "dmbench",
      progress: () => {},
      signal: new AbortController().signal,
    });
    const { ports, hostToken } = JSON.parse(await readFile(join(dataDir, "platform.json"), "utf8"));
    return await measure({
      platform,
      connection: await Connection.open({ url: platform.url, apiKey: platform.apiKey }),
      async machines() {
        const answer = await fetch(`http://127.0.0.1:${ports.host}/rpc/machines/list`, {
          method: "POST",
          headers: { authorization: `Bearer ${hostToken}`, "content-type": "application/json" },
          body: JSON.stringify({ json: {} }),
        });
        return ((await answer.json()) as { json: { machines: MachineInfo[] } }).json.machines;
      },
    });
  } finally {
    await platform?.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

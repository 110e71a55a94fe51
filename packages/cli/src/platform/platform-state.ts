import { randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { writeFileAtomic } from "@dormouse/base/node";
import { z } from "zod";

/** What one platform keeps between its runs: where its parts listen and what they show each other. Mode 0600. */
const platformState = z.object({
  version: z.literal(1),
  /** All on loopback; the gateway's only where no other is asked for. */
  ports: z.object({ host: z.number(), control: z.number(), internal: z.number(), gateway: z.number() }),
  hostToken: z.string().min(32),
  internalToken: z.string().min(32),
  /** What agents' tokens are made with. */
  agentSecret: z.string().min(32).optional(),
  /** What snapshots are encrypted with, 32 bytes in base64: who loses it loses them. */
  snapshotSecret: z.string().optional(),
});
type PlatformState = z.infer<typeof platformState>;

/**
 * Reads the platform's state, or makes it at the first start. Ports that somebody else
 * has taken since are replaced.
 */
export async function loadPlatformState(dataDir: string): Promise<Required<PlatformState>> {
  // 0711: machines' own users reach their drives by name, nobody may list.
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const path = join(dataDir, "platform.json");
  const known = await readFile(path, "utf8").then(
    (text) => platformState.parse(JSON.parse(text)),
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    },
  );
  const state: Required<PlatformState> = {
    version: 1,
    ports: {
      host: await freePort(known?.ports.host),
      control: await freePort(known?.ports.control),
      internal: await freePort(known?.ports.internal),
      gateway: await freePort(known?.ports.gateway),
    },
    hostToken: known?.hostToken ?? randomBytes(32).toString("hex"),
    internalToken: known?.internalToken ?? randomBytes(32).toString("hex"),
    agentSecret: known?.agentSecret ?? randomBytes(32).toString("hex"),
    snapshotSecret: known?.snapshotSecret ?? randomBytes(32).toString("base64"),
  };
  await writeFileAtomic(path, JSON.stringify(state), { mode: 0o600 });
  return state;
}

/** The wished loopback port when it is free, else any that is. */
async function freePort(wish = 0): Promise<number> {
  const server = createServer();
  try {
    return await new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(wish, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address ? address.port : 0);
      });
    });
  } catch (error) {
    if (wish === 0) throw error;
    return freePort();
  } finally {
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  }
}

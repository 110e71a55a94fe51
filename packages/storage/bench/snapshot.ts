// Writes and reads back an image through a file store. Prints JSON in MB/s of the image's content; half of it compresses.
// Usage: node bench/snapshot.ts [MB] [folder]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createFileStore, createSnapshotStore, type SnapshotManifest } from "../src/index.ts";
import { random, randomBytes } from "../src/testing/random.ts";

const blockBytes = 65_536;
const megabytes = Number(process.argv[2] ?? 256);
const folder = await mkdtemp(join(process.argv[3] ?? tmpdir(), "dormouse-bench-"));
const blocks = Math.floor((megabytes * 1e6) / blockBytes);
const next = random(1);
const content = Array.from({ length: blocks }, (_, block) => randomBytes(next, blockBytes, block % 2 === 0));
const rates: Record<string, number> = {};
/** How long anything else that this process has to do waits meanwhile: the 99th percentile. */
const waitsMs: Record<string, number> = {};

/** Measures one thing and notes its rate over the image's content. */
async function measure<T>(name: string, work: () => Promise<T>): Promise<T> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startedMs = performance.now();
  const result = await work();
  delay.disable();
  waitsMs[name] = Number((delay.percentile(99) / 1e6).toFixed(1));
  rates[name] = Math.round((blocks * blockBytes) / 1e3 / (performance.now() - startedMs));
  return result;
}

try {
  for (const kind of ["open", "sealed"]) {
    const key = kind === "sealed" ? { id: "bench", bytes: Buffer.alloc(32, 1) } : undefined;
    const objects = await createFileStore({ folder: join(folder, kind) });
    const store = createSnapshotStore({ objects, findKey: () => key });
    const write = async (parent: SnapshotManifest | null) => {
      const writer = await store.begin({ workspaceId: "bench", generation: 1, reason: "periodic", parent, key });
      const memory = writer.memory(blocks * blockBytes);
      await memory.writeAll(content.keys(), async (block, target) => void content[block]?.copy(target));
      return writer.publish();
    };
    const first = await measure(`${kind}Write`, () => write(null));
    await measure(`${kind}WriteUnchanged`, () => write(first));
    const reader = await store.open("bench", first.id);
    await measure(`${kind}Materialise`, async () => reader.memory?.materialise(join(folder, `${kind}.image`)));
  }
  const peakMib = Math.round(process.resourceUsage().maxRSS / 1024) - megabytes;
  process.stdout.write(
    `${JSON.stringify({ megabytes, unit: "MB/s", ...rates, waitsMs, peakMibBesideContent: peakMib })}\n`,
  );
} finally {
  await rm(folder, { recursive: true });
}

// Writes and reads back an image through a file store, block by block on this thread and all at once on encoding threads.
// Prints JSON in MB/s of the image's content; half of it compresses.
// Usage: node bench/snapshot.ts [MB] [folder]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createFileStore, createSnapshotStore, type ImageWriter, type SnapshotManifest } from "../src/index.ts";
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
    const write = async (
      workspaceId: string,
      parent: SnapshotManifest | null,
      fill: (memory: ImageWriter) => Promise<void>,
    ) => {
      const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent, key });
      await fill(writer.memory(blocks * blockBytes));
      return writer.publish();
    };
    const oneByOne = async (memory: ImageWriter) => {
      for (const [block, data] of content.entries()) await memory.write(block, data);
    };
    const all = (memory: ImageWriter) =>
      memory.writeAll(content.keys(), async (block, target) => void content[block]?.copy(target));
    await measure(`${kind}WriteOneByOne`, () => write("one-by-one", null, oneByOne));
    const first = await measure(`${kind}WriteAll`, () => write("bench", null, all));
    await measure(`${kind}WriteUnchanged`, () => write("bench", first, all));
    const reader = await store.open("bench", first.id);
    await measure(`${kind}Materialise`, async () => reader.memory?.materialise(join(folder, `${kind}.image`)));
  }
  const ratio = (kind: string) =>
    Number(((rates[`${kind}WriteAll`] ?? 0) / (rates[`${kind}WriteOneByOne`] ?? 1)).toFixed(2));
  const peakMib = Math.round(process.resourceUsage().maxRSS / 1024) - megabytes;
  const result = {
    megabytes,
    unit: "MB/s",
    rates,
    othersWaitP99Ms: waitsMs,
    writeAllToOneByOne: { open: ratio("open"), sealed: ratio("sealed") },
    peakMibBesideContent: peakMib,
  };
  process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
} finally {
  await rm(folder, { recursive: true });
}

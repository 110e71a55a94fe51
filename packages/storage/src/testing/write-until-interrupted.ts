// Started by a test, which kills it or has its disk fail: publishes one snapshot after the other and prints the id of each.
// Arguments: folder of the file store, workspace, seed.
import { createFileStore } from "../file/file-store.ts";
import { blockBytes } from "../format/block-ref.ts";
import { createSnapshotStore } from "../snapshot/snapshot-store.ts";

const [folder = "", workspaceId = "", seed = ""] = process.argv.slice(2);
const store = createSnapshotStore({ objects: await createFileStore({ folder }), packBytes: 150_000 });
for (let round = 0; ; round++) {
  const latest = await store.latest(workspaceId);
  const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent: latest ?? null });
  const memory = writer.memory(40 * blockBytes);
  const content = `${seed} ${round} `;
  for (let block = 0; block < 40; block++) await memory.write(block, Buffer.alloc(blockBytes, content));
  writer.facts({ content });
  const { id } = await writer.publish();
  process.stdout.write(`${id}\n`);
}

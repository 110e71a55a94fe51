import { createId } from "@dormouse/base";
import { expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { createFailingIo } from "../testing/failing-io.ts";
import { type Interruption, interruptAndRead } from "../testing/interrupt-writer.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createSnapshotStore } from "./snapshot-store.ts";

const runs = Number(process.env.RUNS) || 500;
const seed = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);

test(`a writer that is killed, or whose disk fails, at ${runs} moments leaves whole snapshots only (SEED=${seed})`, {
  timeout: 3_600_000,
}, async () => {
  await using folder = await createTestFolder("interrupted");
  await using io = await createFailingIo();
  const objects = await createFileStore({ folder: folder.path, leftoverMs: 0 });
  const workspaceId = createId("ws");
  const store = createSnapshotStore({ objects });
  let total = 0;
  const times: Record<Interruption, number> = { SIGKILL: 0, EIO: 0, ENOSPC: 0 };
  for (let round = 0; round < runs; round++) {
    const read = await interruptAndRead({ objects, folder: folder.path, workspaceId, seed: seed + round, io });
    total += read.snapshots;
    times[read.by]++;
    // Not to read ever more: the newest stays, for the next writer to start from.
    const { snapshots } = await store.list(workspaceId);
    for (const { id } of snapshots.slice(0, -1)) await store.remove(workspaceId, id);
  }
  console.log(JSON.stringify(times));
  expect(total).toBeGreaterThan(runs);
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { blockBytes } from "../format/block-ref.ts";
import type { ObjectStore } from "../object-store.ts";
import { createSnapshotStore } from "../snapshot/snapshot-store.ts";
import { random } from "./random.ts";

const writerProgram = fileURLToPath(new URL("./write-until-killed.ts", import.meta.url));

/**
 * Starts a process that publishes one snapshot after the other, kills it at some moment,
 * and reads back everything that is listed. Gives the number of snapshots.
 */
export async function killAndRead(facts: {
  objects: ObjectStore;
  folder: string;
  workspaceId: string;
  seed: number;
}): Promise<number> {
  const { objects, folder, workspaceId, seed } = facts;
  const next = random(seed);
  const child = spawn(process.execPath, [writerProgram, folder, workspaceId, String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const acknowledged: string[] = [];
  let killAfter = 1 + Math.floor(next() * 4);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    acknowledged.push(...text.split("\n").filter(Boolean));
    // A number of events first, then a while that ends anywhere in the next one.
    if (--killAfter === 0) setTimeout(() => child.kill("SIGKILL"), next() * 40);
  });
  await ended;
  const store = createSnapshotStore({ objects });
  const { snapshots, damaged } = await store.list(workspaceId);
  expect(damaged).toEqual([]);
  const ids = new Set(snapshots.map(({ id }) => id));
  for (const id of acknowledged) expect(ids).toContain(id);
  for (const manifest of snapshots) {
    const reader = await store.open(workspaceId, manifest.id);
    await reader.verify();
    // The program writes into each snapshot what all of its blocks must hold.
    const content = Buffer.alloc(blockBytes, String(manifest.facts.content));
    for (const block of [0, 20, 39]) expect((await reader.memory?.readBlock(block))?.equals(content)).toBe(true);
  }
  return snapshots.length;
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { blockBytes } from "../format/block-ref.ts";
import type { ObjectStore } from "../object-store.ts";
import { createSnapshotStore } from "../snapshot/snapshot-store.ts";
import type { FailingIo } from "./failing-io.ts";
import { random } from "./random.ts";

const writerProgram = fileURLToPath(new URL("./write-until-interrupted.ts", import.meta.url));
const interruptions = ["SIGKILL", "EIO", "ENOSPC"] as const;

/** How a writer came to its end. */
export type Interruption = (typeof interruptions)[number];

/**
 * Starts a process that publishes one snapshot after the other, kills it or has its disk fail at some moment,
 * and reads back everything that is listed.
 * @returns the number of snapshots, and what the seed made of it.
 */
export async function interruptAndRead(facts: {
  objects: ObjectStore;
  folder: string;
  workspaceId: string;
  seed: number;
  /** Without it writers are only killed. */
  io?: FailingIo;
}): Promise<{ snapshots: number; by: Interruption }> {
  const { objects, folder, workspaceId, seed, io } = facts;
  const next = random(seed);
  const by = (io && interruptions[Math.floor(next() * interruptions.length)]) ?? "SIGKILL";
  const child = spawn(process.execPath, [writerProgram, folder, workspaceId, String(seed)], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...io?.environment(folder) },
  });
  const ended = once(child, "close");
  const acknowledged: string[] = [];
  let killAfter = 1 + Math.floor(next() * 4);
  const interrupt = async () => {
    if (by === "SIGKILL" || !io) child.kill("SIGKILL");
    else await io.fail(by);
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    acknowledged.push(...text.split("\n").filter(Boolean));
    // A number of events first, then a while that ends anywhere in the next one.
    if (--killAfter === 0) setTimeout(() => void interrupt(), next() * 40);
  });
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    words += text;
  });
  await ended;
  await io?.heal();
  if (by !== "SIGKILL") expect(words).toContain(by === "EIO" ? "EIO" : "resource_exhausted");
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
  return { snapshots: snapshots.length, by };
}

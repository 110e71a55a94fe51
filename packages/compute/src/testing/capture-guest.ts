import { copyFile, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { blockBytes } from "../block-set.ts";
import type { BlockReader, Capture, LayeredDrive, MachineState } from "../vmm.ts";

/** A snapshot as a caller would keep it: whole memory and whole drive, brought up to date by each capture. */
export interface KeptSnapshot {
  memory: string;
  disk: string;
}

/** Starts with what a machine starts from. */
export async function keepSnapshot(folder: string, from: { memory: string; base: string }): Promise<KeptSnapshot> {
  await mkdir(folder, { mode: 0o711 });
  const kept = { memory: join(folder, "memory"), disk: join(folder, "disk") };
  await run("cp", ["--sparse=always", from.memory, kept.memory]);
  await run("cp", ["--sparse=always", from.base, kept.disk]);
  return kept;
}

/** Puts what changed on what is kept. */
export async function applyCapture(kept: KeptSnapshot, capture: Capture): Promise<void> {
  await apply(kept.memory, capture.memory);
  await apply(kept.disk, capture.disk);
}

async function apply(path: string, source: BlockReader): Promise<void> {
  const file = await open(path, "r+");
  try {
    const buffer = Buffer.alloc(blockBytes);
    for (const block of source.blocks) {
      const start = block * blockBytes;
      const piece = buffer.subarray(0, Math.min(blockBytes, source.bytes - start));
      await source.read(block, piece);
      await file.write(piece, 0, piece.length, start);
    }
  } finally {
    await file.close();
  }
}

/** What a machine needs to start from what is kept: its drive is whole, so it is the base of a new one. */
export async function stateOf(
  kept: KeptSnapshot,
  capture: Capture,
  folder: string,
): Promise<{ state: MachineState; workspace: LayeredDrive }> {
  await mkdir(folder, { mode: 0o711 });
  const [memory, base] = [join(folder, "memory"), join(folder, "disk")];
  await run("cp", ["--sparse=always", kept.memory, memory]);
  await copyFile(kept.disk, base);
  await run("chmod", ["444", base]);
  const { identity, devices } = capture;
  return { state: { identity, memory, devices }, workspace: { base, folder: join(folder, "layers"), layers: [] } };
}

import { disposer } from "@dormouse/base";
import { BlockSet } from "../block-set.ts";
import type { BlockReader } from "../vmm.ts";
import { clusterBytes } from "./format.ts";
import { Layer } from "./layer.ts";

/**
 * What a stack of frozen layers holds, as blocks of 64 KiB: a block counts when any layer has it, and the topmost one
 * says what it contains.
 * @param paths lowest first.
 * @throws DormouseError `data_loss` when one of them cannot be understood.
 */
export async function openLayers(
  paths: readonly string[],
  driveBytes: number,
  signal?: AbortSignal,
): Promise<BlockReader & { [Symbol.asyncDispose](): Promise<void> }> {
  await using stack = disposer();
  const layers: Layer[] = [];
  const blocks = new BlockSet(Math.ceil(driveBytes / clusterBytes));
  for (const path of paths) {
    const layer = await Layer.open(path);
    stack.add(() => layer[Symbol.asyncDispose]());
    layer.assertDriveBytes(driveBytes);
    await layer.visit((cluster) => blocks.add(cluster), signal);
    layers.unshift(layer);
  }
  stack.release();
  return {
    bytes: driveBytes,
    blocks: blocks.toArray(),
    async read(block, target) {
      for (const layer of layers) if ((await layer.read(block, target)) !== "absent") return;
      target.fill(0);
    },
    async [Symbol.asyncDispose]() {
      for (const layer of layers) await layer[Symbol.asyncDispose]();
    },
  };
}

import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { networkFeatures } from "./doctor.ts";

test("a machine that runs these tests has what slots need, and looking leaves nothing behind", async () => {
  const features = await networkFeatures();
  expect(features.filter(({ required, available }) => required && !available)).toEqual([]);
  expect(features.every(({ reason }) => reason.length > 10)).toBe(true);
  expect((await readdir("/run/netns")).filter((name) => name.startsWith("dormouse-doctor"))).toEqual([]);
});

test("what is missing is said in words", async () => {
  const path = process.env.PATH;
  process.env.PATH = "/nowhere";
  try {
    const [namespaces] = await networkFeatures();
    expect(namespaces).toMatchObject({ available: false, reason: "no command ip here" });
  } finally {
    process.env.PATH = path;
  }
});

import { expect, test } from "vitest";
import { missingResources, parseHostRequirements, parseSize } from "./host-requirements.ts";

const gib = 1024 ** 3;

test.each([
  ["0", 0],
  ["1024", 1024],
  ["1kb", 1024],
  ["512mb", 512 * 1024 ** 2],
  ["8gb", 8 * gib],
  ["2tb", 2048 * gib],
])("%s are %i bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test("what is no size is refused", () => {
  expect(() => parseSize("8 GB")).toThrow('size is "8 GB": must be a size such as "8gb", in tb, gb, mb, kb or bytes');
});

test("requirements become numbers", () => {
  expect(parseHostRequirements()).toEqual({ gpu: "none" });
  expect(parseHostRequirements({ cpus: 4, memory: "8gb", storage: "32gb", gpu: "optional" })).toEqual({
    cpus: 4,
    memoryBytes: 8 * gib,
    storageBytes: 32 * gib,
    gpu: "optional",
  });
  expect(parseHostRequirements({ gpu: { cores: 2, memory: "1gb" } })).toEqual({
    gpu: "required",
    gpuCores: 2,
    gpuMemoryBytes: gib,
  });
  expect(parseHostRequirements({ gpu: true }).gpu).toBe("required");
});

test("what is missing is listed", () => {
  const small = { cpus: 2, memoryBytes: 4 * gib, storageBytes: 8 * gib };
  const needs = parseHostRequirements({ cpus: 4, memory: "8gb", storage: "8gb", gpu: { cores: 2, memory: "2gb" } });
  expect(missingResources(needs, small).map(({ message }) => message)).toEqual([
    "cpus: 4 needed, 2 there",
    "memory: 8 GiB needed, 4 GiB there",
    "gpu: 1 needed, 0 there",
  ]);
  expect(
    missingResources(needs, { ...small, cpus: 4, memoryBytes: 8 * gib, gpu: { cores: 1, memoryBytes: gib } }),
  ).toEqual([
    { resource: "gpu.cores", needed: 2, available: 1, message: "gpu.cores: 2 needed, 1 there" },
    { resource: "gpu.memory", needed: 2 * gib, available: gib, message: "gpu.memory: 2 GiB needed, 1 GiB there" },
  ]);
  expect(missingResources(parseHostRequirements({ gpu: "optional" }), small)).toEqual([]);
});

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  assertLoadable,
  describeFile,
  type MachineIdentity,
  readManifest,
  readVerified,
  type TemplateManifest,
  writeManifest,
} from "./manifest.ts";

const identity: MachineIdentity = {
  vmm: "qemu",
  vmmVersion: "10.0.2",
  accelerator: "tcg",
  machineType: "microvm",
  cpu: "qemu64",
  resources: { vcpus: 1, memoryMib: 1024 },
  tscKhz: 2_400_000,
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-manifest-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("a manifest comes back as it was written, and as what it is", async () => {
  const devices = describeFile("devices", Buffer.from("state"));
  expect(devices).toMatchObject({ name: "devices", bytes: 5 });
  const memory = { name: "memory", bytes: 1024 ** 3 };
  const manifest: TemplateManifest = { kind: "template", formatVersion: 1, identity, devices, memory };
  await writeManifest(folder, manifest);
  expect(await readManifest(folder)).toEqual(manifest);
  const text = await readFile(join(folder, "manifest.json"), "utf8");
  await writeFile(join(folder, "manifest.json"), text.replace('"template"', '"snapshot"'));
  await expect(readManifest(folder)).rejects.toMatchObject({ code: "data_loss" });
  await expect(readManifest(folder)).rejects.toThrow("is of kind snapshot, not template");
});

test("what cannot be understood is refused", async () => {
  await expect(readManifest(join(folder, "nowhere"))).rejects.toMatchObject({ code: "not_found" });
  await writeFile(join(folder, "manifest.json"), "{");
  await expect(readManifest(folder)).rejects.toMatchObject({ code: "data_loss" });
  await writeFile(join(folder, "manifest.json"), '{"kind":"template","formatVersion":2}');
  await expect(readManifest(folder)).rejects.toThrow("has format version 2; this Dormouse reads 1");
});

test("a file is compared in size and content, each flipped bit of it", async () => {
  const path = join(folder, "devices");
  const content = Buffer.from("abc");
  const entry = describeFile("devices", content);
  // The published SHA-256 test vector for "abc" (FIPS 180-2).
  expect(entry.sha256).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  await writeFile(path, content);
  expect(await readVerified(folder, entry)).toEqual(content);
  for (let bit = 0; bit < content.length * 8; bit++) {
    const damaged = Buffer.from(content);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await writeFile(path, damaged);
    await expect(readVerified(folder, entry), `bit ${bit}`).rejects.toThrow(`${path} is damaged: its SHA-256 is`);
  }
  await writeFile(path, "ab");
  await expect(readVerified(folder, entry)).rejects.toThrow(`${path} is damaged: 2 bytes, expected 3`);
  await rm(path);
  await expect(readVerified(folder, entry)).rejects.toMatchObject({ code: "data_loss" });
});

test("device state is loaded only where it fits", () => {
  const { resources: _, ...here } = identity;
  assertLoadable(identity, here);
  assertLoadable(identity, { ...here, tscKhz: 2_400_100 });
  expect(() => assertLoadable(identity, { ...here, cpu: "host" })).toThrow(
    "the snapshot's CPU model is qemu64; this host has host",
  );
  expect(() => assertLoadable(identity, { ...here, accelerator: "kvm" })).toThrow(
    "accelerator is tcg; this host has kvm",
  );
  expect(() => assertLoadable(identity, { ...here, tscKhz: 2_500_000 })).toThrow("TSC runs at 2400000 kHz");
});

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readImage } from "../testing/image-contents.ts";
import { startRegistry } from "../testing/registry.ts";
import { pushDebianImage } from "../testing/test-images.ts";
import { pullImage } from "./pull-image.ts";
import { resolveImage } from "./resolve-image.ts";

test("a whole Debian", async () => {
  await using registry = await startRegistry();
  const cacheDir = await mkdtemp(join(tmpdir(), "dormouse-oci-"));
  try {
    const image = await resolveImage((await pushDebianImage(registry)).reference);
    expect(image.config).toMatchObject({ user: "", cmd: ["bash"] });
    const files = await readImage((await pullImage(image, { cacheDir })).path);
    expect(files["usr/bin/bash"]).toMatchObject({ type: "f", mode: 0o755 });
    expect(files["usr/bin/su"]?.mode).toBe(0o4755);
    expect(files["etc/passwd"]?.content).toMatch(/^root:/);
  } finally {
    await rm(cacheDir, { recursive: true });
  }
});

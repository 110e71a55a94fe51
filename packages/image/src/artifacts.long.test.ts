// What `artifacts.integration.test.ts` leaves out for its time.
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProgressEvent } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ArtifactInputs, type Artifacts, buildArtifacts } from "./artifacts.ts";
import { buildBaseImage } from "./base-image.ts";

let folder: string;
let inputs: ArtifactInputs;
let artifacts: Artifacts;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-image-"));
  inputs = {
    initBinary: "/bin/busybox",
    agentFile: join(folder, "agent.mjs"),
    nodeBinary: fileURLToPath(new URL("../../../node_modules/node/bin/node", import.meta.url)),
  };
  await writeFile(inputs.agentFile, "// test agent\n");
  // The cache that the product uses: what it has built, or will need, is not built twice.
  artifacts = await buildArtifacts(inputs);
}, 600_000);
afterAll(async () => {
  await rm(folder, { recursive: true });
  // The only artefact that nobody else has a use for.
  await rm(dirname(artifacts.systemDrive), { recursive: true });
});

test("another agent is another system drive and another hash, and the rest stays", async () => {
  const agentFile = join(folder, "other-agent.mjs");
  await writeFile(agentFile, "// another agent\n");
  const other = await buildArtifacts({ ...inputs, agentFile });
  await rm(dirname(other.systemDrive), { recursive: true });
  expect(other.hash).not.toBe(artifacts.hash);
  expect({ ...other, hash: "", systemDrive: "" }).toEqual({ ...artifacts, hash: "", systemDrive: "" });
});

test("a build of the base image that is given up leaves no file, mount or process", async () => {
  const cacheDir = join(folder, "cache");
  const stop = new AbortController();
  const progress = (event: ProgressEvent) => {
    if (event.state === "running") stop.abort();
  };
  await expect(buildBaseImage(inputs, { cacheDir, progress, signal: stop.signal })).rejects.toMatchObject({
    code: "cancelled",
  });
  expect((await readdir(cacheDir)).sort()).toEqual(["base-image.lock", "hashes"]);
  expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(cacheDir);
  const { stdout } = await run("pgrep", ["-f", cacheDir], { okCodes: [0, 1] });
  expect(stdout).toBe("");
});

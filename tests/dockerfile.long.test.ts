// A repository whose machine is built of a Dockerfile, in a machine of its own; with a registry on this machine that wants
// to know who asks, and real machines.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startRegistry, type TestRegistry, writeAuthFile } from "../packages/image/src/testing/registry.ts";
import { pushMuslImage } from "../packages/image/src/testing/test-images.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let registry: TestRegistry;
let internet: PretendInternet;
let platform: TestPlatform;
let folder: string;
let musl: string;

beforeAll(async () => {
  const ada = { name: "ada", password: "lovelace" };
  registry = await startRegistry({ auth: ada });
  folder = await mkdtemp(join(tmpdir(), "dormouse-dockerfile-"));
  await writeAuthFile(join(folder, "auth.json"), registry.address, ada);
  internet = await createPretendInternet();
  const context = { cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse" };
  musl = (await pushMuslImage(registry, context)).reference;
  platform = await startTestPlatform({
    poolSize: 0,
    registry: { authFile: join(folder, "auth.json"), insecure: [registry.address] },
  });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await registry?.stop();
  await rm(folder, { recursive: true });
});

async function open(repository: string, env?: Record<string, string>) {
  const steps: string[] = [];
  const { connection } = platform;
  const onProgress = ({ step, message }: { step: string; message: string }) => void steps.push(`${step}: ${message}`);
  const beganMs = performance.now();
  const workspace = await Workspace.create({ connection, repository, env, onProgress });
  process.stderr.write(`${repository} opened in ${Math.round(performance.now() - beganMs)} ms\n`);
  return { workspace, steps };
}

describe("a repository with a Dockerfile", () => {
  it("opens in what is built of it, and the second time without a build", async () => {
    const dockerfile = [
      "ARG FROM",
      "FROM ${FROM} AS first",
      "ARG WORD=default",
      'RUN echo "$WORD from a stage" >/word',
      "FROM ${FROM}",
      'SHELL ["/bin/sh", "-e", "-c"]',
      "COPY --from=first /word /opt/word",
      "COPY files/*.txt /opt/",
      "ENV BUILT=yes",
      "RUN mkdir -p /home/guest && chown guest /home/guest",
      "USER guest",
      `LABEL devcontainer.metadata='[{"remoteEnv":{"FROM_LABEL":"yes"}}]'`,
    ];
    const definition = {
      build: { dockerfile: "Dockerfile", context: "..", args: { FROM: musl, WORD: "${localEnv:WORD:none}" } },
    };
    const repository = await internet.addRepository("built", {
      ".devcontainer/devcontainer.json": JSON.stringify(definition),
      ".devcontainer/Dockerfile": `${dockerfile.join("\n")}\n`,
      "files/a.txt": "from the context\n",
      "files/b.txt": "left out\n",
      ".dockerignore": "files/b.txt\n",
    });
    const first = await open(repository, { WORD: "hello" });
    await using one = first.workspace;
    expect(one.info.devcontainer).toMatchObject({ problem: null, notes: [] });
    const script = "cat /opt/word /opt/*.txt; id -un; echo $BUILT $FROM_LABEL; cat files/a.txt; git status --short";
    const seen = "hello from a stage\nfrom the context\nguest\nyes yes\nfrom the context\n";
    expect(await one.exec(script)).toMatchObject({ stdout: seen, stderr: "" });
    for (const part of ["Asking for the image", "Bringing ", "STEP 4/", "Taking what was built", "Booting the image"]) {
      expect(first.steps.join("\n")).toContain(part);
    }
    expect((await platform.connection.api.workspaces.logs({ workspace: one.id })).setup).toContain(
      "STEP 2/3: ARG WORD",
    );
    const second = await open(repository, { WORD: "hello" });
    await using two = second.workspace;
    expect((await two.exec(script)).stdout).toBe(seen);
    expect(second.steps.join("\n")).not.toContain("STEP");
  });

  it("tells the line of a step that fails, with its output, and opens on base", async () => {
    const repository = await internet.addRepository("failing", {
      ".devcontainer.json": JSON.stringify({ dockerFile: "docker/Dockerfile", context: "docker" }),
      "docker/Dockerfile": `FROM ${musl}\nRUN true\nRUN echo trying; \\\n  echo no such disk >&2; exit 3\n`,
    });
    const { workspace } = await open(repository);
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toMatchObject({ file: "docker/Dockerfile", line: 3, column: 1 });
    expect(workspace.info.devcontainer?.problem?.message).toMatch(
      /^docker\/Dockerfile:3: RUN echo trying; .* exit 3: the build ended with code 3: trying \| no such disk$/,
    );
    expect((await workspace.exec("id -un")).stdout).toBe("dev\n");
  });
});

// A repository whose machine is built of a Dockerfile, in a machine of its own; with a registry on this machine that wants
// to know who asks, and real machines.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import type { EmbeddedPostgres } from "@dormouse/control/postgres";
import { Connection, Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApiKeys } from "../packages/control/src/accounts/api-keys.ts";
import { openDatabase } from "../packages/control/src/database/open.ts";
import { users } from "../packages/control/src/database/schema.ts";
import { connectHost } from "../packages/control/src/host/client.ts";
import { startTestPostgres, testLog } from "../packages/control/src/testing/platform.ts";
import { startRegistry, type TestRegistry, writeAuthFile } from "../packages/image/src/testing/registry.ts";
import { pushMuslImage } from "../packages/image/src/testing/test-images.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let registry: TestRegistry;
let internet: PretendInternet;
let platform: TestPlatform;
let folder: string;
let musl: string;
let postgres: EmbeddedPostgres;
const resources = disposer();

beforeAll(async () => {
  // The platform's own, but one whose address is known here.
  postgres = await startTestPostgres(resources);
  process.env.DATABASE_URL = postgres.url;
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
  await resources[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

async function open(
  repository: string,
  options: { env?: Record<string, string>; connection?: Connection; onTold?: (message: string) => void } = {},
) {
  const { env, connection = platform.connection, onTold } = options;
  const steps: string[] = [];
  const onProgress = ({ step, message }: { step: string; message: string }) => {
    steps.push(`${step}: ${message}`);
    onTold?.(message);
  };
  const beganMs = performance.now();
  const workspace = await Workspace.create({ connection, repository, env, onProgress });
  process.stderr.write(`${repository} opened in ${Math.round(performance.now() - beganMs)} ms\n`);
  return { workspace, steps };
}

/** Applies a definition whose files were changed; `buildMs` without the machine's own way from image to start. */
async function rebuild(workspace: Workspace, files: Record<string, string>) {
  for (const [path, text] of Object.entries(files)) {
    await workspace.files.write(`${workspace.info.folder}/${path}`, text);
  }
  const told: { message: string; atMs: number }[] = [];
  await workspace.rebuild({ onProgress: ({ message }) => void told.push({ message, atMs: performance.now() }) });
  const firstAt = (text: string) => told.find(({ message }) => message.includes(text))?.atMs ?? Number.NaN;
  return {
    steps: told.map(({ message }) => message).join("\n"),
    buildMs: Math.round(firstAt("Putting together") - firstAt("Starting a machine to build in")),
    problem: workspace.info.devcontainer?.problem?.message,
  };
}

/** Somebody else of the same platform. */
async function connectSomebodyElse(): Promise<Connection> {
  await using database = await openDatabase({ url: postgres.url, log: testLog });
  await database.db.insert(users).values({ id: "user-bob", name: "bob", email: "bob@x.test" });
  const { key } = await createApiKeys(database.db).create("user-bob", { name: "tests" });
  return await Connection.open({ url: platform.url, apiKey: key });
}

/** What a step could that got out of its inner root, as root of the machine that builds. */
async function tamperWithBuilder(): Promise<void> {
  const { ports, hostToken } = JSON.parse(await readFile(join(platform.dataDir, "data/platform.json"), "utf8"));
  await using host = connectHost({ url: `http://127.0.0.1:${ports.host}`, token: hostToken });
  const { machines } = await host.calls.machines.list({});
  const [builder = ""] = machines.map(({ workspaceId }) => workspaceId).filter((id) => id.startsWith("bld"));
  const command = ["ln", "-sf", "/bin/false", "/usr/bin/buildah"];
  expect(await host.guest(builder).exec.run({ command, user: "root", cwd: "/" })).toMatchObject({ exitCode: 0 });
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
    const first = await open(repository, { env: { WORD: "hello" } });
    await using one = first.workspace;
    expect(one.info.devcontainer).toMatchObject({ problem: null, notes: [] });
    const script = "cat /opt/word /opt/*.txt; id -un; echo $BUILT $FROM_LABEL; cat files/a.txt; git status --short";
    const seen = "hello from a stage\nfrom the context\nguest\nyes yes\nfrom the context\n";
    expect(await one.exec(script)).toMatchObject({ stdout: seen, stderr: "" });
    for (const part of [
      "Asking for the image",
      "Bringing ",
      "step 4/11 ",
      "Taking what was built",
      "Booting the image",
    ]) {
      expect(first.steps.join("\n")).toContain(part);
    }
    expect((await platform.connection.api.workspaces.logs({ workspace: one.id })).setup).toContain(
      "step 2/11 ARG WORD",
    );
    const second = await open(repository, { env: { WORD: "hello" } });
    await using two = second.workspace;
    expect((await two.exec(script)).stdout).toBe(seen);
    expect(second.steps.join("\n")).not.toContain("step 1/");
  });

  it("tells the line of a step that fails, with its output, and opens on base", async () => {
    const repository = await internet.addRepository("failing", {
      ".devcontainer.json": JSON.stringify({ dockerFile: "docker/Dockerfile", context: "docker" }),
      "docker/Dockerfile": `FROM ${musl}\nRUN true\nRUN echo trying >&2; \\\n  echo no such disk >&2; exit 3\n`,
    });
    const { workspace } = await open(repository);
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toMatchObject({ file: "docker/Dockerfile", line: 3, column: 1 });
    expect(workspace.info.devcontainer?.problem?.message).toMatch(
      /^docker\/Dockerfile:3: RUN echo trying >&2; .* exit 3: the build ended with code 3: trying \| no such disk$/,
    );
    expect((await workspace.exec("id -un")).stdout).toBe("dev\n");
  });
});

describe("a Dockerfile of which something has changed", () => {
  const slow = "RUN sleep 30; cat /proc/sys/kernel/random/uuid >/stamp";
  const dockerfile = (...lines: string[]) => `${lines.join("\n")}\n`;
  const files = () => ({
    ".devcontainer.json": JSON.stringify({ build: { dockerfile: "Dockerfile" } }),
    Dockerfile: dockerfile(`FROM ${musl}`, slow, "COPY a.txt /a.txt", "RUN tr a-z A-Z </a.txt >/b.txt"),
    "a.txt": "one\n",
  });
  const look = async (workspace: Workspace) => (await workspace.exec("cat /stamp /b.txt")).stdout.split("\n");

  it("is not built by what a later step made of the machine that builds", async () => {
    const lines = [`FROM ${musl}`, slow];
    const evil = "RUN --mount=type=cache,target=/cache echo poison >/cache/x; sleep 15";
    const repository = await internet.addRepository("tampering", {
      ...files(),
      Dockerfile: dockerfile(...lines, evil),
    });
    let tampered: Promise<void> | undefined;
    const { workspace } = await open(repository, {
      onTold(message) {
        if (message.includes("step 3/3")) tampered ??= tamperWithBuilder();
      },
    });
    await using _ = workspace;
    await tampered;
    // It did get at it: from then on nothing is built in there.
    expect(workspace.info.devcontainer?.problem?.message).toBe("putting together what was built ended with code 1");
    const harmless = "RUN --mount=type=cache,target=/cache ls /cache >/b.txt";
    const mended = await rebuild(workspace, { Dockerfile: dockerfile(...lines, harmless) });
    expect(mended.problem).toBeUndefined();
    expect(mended.steps).toContain(`step 2/3 ${slow} (cached)`);
    const [stamp, ...cache] = await look(workspace);
    expect([stamp?.length, ...cache]).toEqual([36, ""]);
  }, 600_000);

  it("is built from the first step that did, and by nobody else from there", async () => {
    const repository = await internet.addRepository("steps", files());
    const { workspace } = await open(repository);
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toBeNull();
    const [stamp, first] = await look(workspace);
    expect([stamp?.length, first]).toEqual([36, "ONE"]);
    const copied = await rebuild(workspace, { "a.txt": "two\n" });
    expect([copied.problem, ...(await look(workspace))]).toEqual([undefined, stamp, "TWO", ""]);
    expect(copied.steps).toContain(`step 2/4 ${slow} (cached)`);
    expect(copied.steps).toMatch(/step 4\/4 RUN tr a-z A-Z <\/a.txt >\/b.txt$/m);
    const all = files().Dockerfile.replace("sleep 30", "sleep 30; true");
    const changed = await rebuild(workspace, { Dockerfile: all });
    expect(changed.problem).toBeUndefined();
    const [another, second] = await look(workspace);
    expect([another?.length, second]).toEqual([36, "TWO"]);
    expect(another).not.toBe(stamp);
    expect(changed.steps).not.toContain("(cached)");
    process.stderr.write(
      `built after a change of a copied file: ${copied.buildMs} ms; of the first RUN: ${changed.buildMs} ms\n`,
    );

    const fork = await open(await internet.addRepository("steps-of-another", files()));
    await using forked = fork.workspace;
    expect((await look(forked))[0]).toMatch(/^(?!.*undefined).{36}$/);
    expect([stamp, another]).not.toContain((await look(forked))[0]);
    expect(fork.steps.join("\n")).not.toContain("(cached)");
    const bobs = await open(repository, { connection: await connectSomebodyElse() });
    await using his = bobs.workspace;
    expect([stamp, another, (await look(forked))[0]]).not.toContain((await look(his))[0]);
    expect(bobs.steps.join("\n")).not.toContain("(cached)");
  }, 900_000);
});

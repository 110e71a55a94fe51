import { DormouseError } from "@dormouse/base";
import { closedEgress, type SnapshotRef } from "@dormouse/contract";
import { dockerfileNeeds, dockerfileSegments } from "@dormouse/devcontainer";
import { describe, expect, it } from "vitest";
import type { GuestClient, HostConnection } from "../host/client.ts";
import type { BuildStore } from "./build-store.ts";
import type { BuilderMachines } from "./builder-machines.ts";
import type { DockerfileSource } from "./dockerfile-source.ts";
import { createImageBuilder } from "./image-builder.ts";

const { signal } = new AbortController();
const resources = { vcpus: 1, memoryMib: 1024, diskGib: 16 };
const architecture = "amd64";

/** A Dockerfile as it is read; `contents` are of its context's files, by source. */
function sourceOf(lines: string[], contents: Record<string, string> = {}, args = {}): DockerfileSource {
  const text = lines.join("\n");
  return {
    ...{ path: "Dockerfile", text, context: ".", args, target: undefined, options: [], notes: [] },
    images: dockerfileNeeds(text, { args, architecture }).images,
    segments: dockerfileSegments(text, { args, architecture }),
    contents: new Map(Object.entries({ ".dockerignore": "none", ".containerignore": "none", ...contents })),
    hash: JSON.stringify([text, contents, args]),
  };
}

/** A host whose builders do nothing, told by what is asked of it; what is kept stays from one build to the next. */
function simulate({ worthKeepingMs = 0 } = {}) {
  const happened: string[] = [];
  const told: string[] = [];
  const builds = new Map<string, SnapshotRef>();
  const images = new Map<string, string>();
  const gone = new Set<string>();
  let last = 0;
  /** Of the context of the next builds, as it is once it was brought. */
  let context: ReadonlyMap<string, string> = new Map();
  let failing = "";
  let dockerfile = "";
  const progress = (message: string, answer: object) =>
    (async function* () {
      yield { step: "any", message };
      return answer;
    })();
  const calls = {
    templates: { list: async () => ({ templates: [{ name: "base", hash: "template", resources }] }) },
    images: {
      resolve: async ({ reference }: { reference: string }) => ({ digest: reference, user: "", env: {}, labels: {} }),
      async deliver({ image }: { image: string }) {
        happened.push(`bring ${image}`);
        return progress("Bringing", {});
      },
      adopt: async () => progress("Taking", { digest: `sha256:${++last}`, user: "", env: {}, labels: {} }),
    },
    snapshots: {
      list: async ({ workspaceId }: { workspaceId: string }) => ({
        snapshots: [...builds.values()].filter((ref) => ref.workspaceId === workspaceId && !gone.has(ref.id)),
      }),
    },
    machines: {
      async snapshot() {
        happened.push("keep");
        return { id: `snap-${++last}` };
      },
    },
  };
  const guest = {
    files: {
      makeDirectory: async () => ({}),
      remove: async () => ({}),
      async write({ content }: { content: string }) {
        dockerfile = Buffer.from(content, "base64").toString("utf8");
      },
    },
    exec: {
      async run({ command }: { command: string[] }) {
        const names = command.slice(7);
        return { exitCode: 0, timedOut: false, stdout: names.map((name) => `${context.get(name)}\n`).join("") };
      },
      async start({ command }: { command: string[] }) {
        const args = command.filter((word) => word.startsWith("--build-arg="));
        const lines = dockerfile.trimEnd().split("\n");
        if (command.includes("build")) happened.push(["build", ...args, ...lines].join(" | "));
        return { processId: command.includes("build") ? "build" : "other" };
      },
      async attach({ processId }: { processId: string }) {
        const lines = processId === "build" ? dockerfile.trimEnd().split("\n") : [];
        const isFailing = lines.includes(failing);
        const text = lines.map((line, index) => `STEP ${index + 1}/${lines.length}: ${line}\n`).join("");
        const data = Buffer.from(`${text}COMMIT localhost/dormouse/stage-0\nsaid so\n`).toString("base64");
        return (async function* () {
          yield { type: "stdout", data };
          yield { type: "exit", exitCode: isFailing ? 1 : 0, timedOut: false };
        })();
      },
    },
  } as unknown as GuestClient;
  const store = {
    async find(keys: readonly string[]) {
      const key = keys.findLast((candidate) => builds.has(candidate));
      const snapshot = key === undefined ? undefined : builds.get(key);
      return key !== undefined && snapshot ? { key, snapshot } : undefined;
    },
    save: async (key: string, snapshot: SnapshotRef) => void builds.set(key, snapshot),
    forget: async (key: string) => void builds.delete(key),
    findImage: async (key: string) => images.get(key),
    saveImage: async (key: string, digest: string) => void images.set(key, digest),
  } as unknown as BuildStore;
  const machines: BuilderMachines = {
    active: new Set(),
    async run({ start }, work) {
      happened.push(start.snapshot ? `start from ${start.snapshot.id}` : "start");
      return await work({ id: `bld-${++last}`, guest });
    },
  };
  const builder = createImageBuilder({
    ...{ host: { calls } as unknown as HostConnection, store, machines, worthKeepingMs, timeoutMs: 60_000 },
    carrier: { copy: async (_from, _to, sources) => void happened.push(`copy ${sources.join(" ")}`) },
  });
  const watcher = {
    egress: closedEgress,
    onProgress: ({ message }: { message: string }) => void told.push(message),
    onLog() {},
  };
  const scope = { ownerId: "ada", organisationId: "own", repository: "app" };
  return {
    told,
    gone,
    /** Fails at this instruction from now on. */
    failAt(instruction: string) {
      failing = instruction;
    },
    /** Builds, and answers what happened on the way. */
    async build(
      source: DockerfileSource,
      more: { scope?: Partial<typeof scope>; brought?: Record<string, string> } = {},
    ) {
      happened.length = 0;
      told.length = 0;
      context = new Map([...source.contents, ...Object.entries(more.brought ?? {})]);
      const origin = { workspaceId: "ws", folder: "/workspaces/app", scope: { ...scope, ...more.scope } };
      await builder.ensure(source, origin, watcher, signal);
      return [...happened];
    },
    happened,
  };
}

const lines = ["FROM a:1", "ARG V", "RUN install", "COPY a.txt .", "RUN make"];
const firstBuild = "build | --build-arg=V=1 | FROM a:1 | ARG V | RUN install";
const secondBuild = "build | --build-arg=V=1 | FROM localhost/dormouse/stage-0 | ARG V | COPY a.txt . | RUN make";

describe("the image of a Dockerfile", () => {
  it("is built from the last step that was kept, with nothing but what the rest needs", async () => {
    const { build, told } = simulate();
    const source = (content: string) => sourceOf(lines, { "a.txt": content }, { V: "1" });
    expect(await build(source("x"))).toEqual([
      ...["start", "bring a@a:1", firstBuild, "keep", "copy a.txt", secondBuild, "keep"],
    ]);
    expect(told).toContain("Building Dockerfile: step 3/5 RUN install");
    expect(told.join("\n")).not.toContain("(cached)");
    expect(told.join("\n")).not.toContain("stage-0");
    expect(await build(source("x"))).toEqual([]);
    expect(await build(source("y"))).toEqual([
      expect.stringMatching(/^start from snap-/),
      ...["copy a.txt", secondBuild, "keep"],
    ]);
    expect(told).toEqual(expect.arrayContaining(["Building Dockerfile: step 3/5 RUN install (cached)"]));
    expect(told).toContain("Building Dockerfile: step 5/5 RUN make");
    // Each state was kept for itself: what came of the first one was not built over.
    expect(await build(sourceOf([...lines, "RUN test"], { "a.txt": "x" }, { V: "1" }))).toEqual([
      expect.stringMatching(/^start from snap-/),
      "build | --build-arg=V=1 | FROM localhost/dormouse/stage-0 | ARG V | RUN test",
      "keep",
    ]);
  });

  it.each([{ ownerId: "bob" }, { organisationId: "acme" }, { repository: "fork" }])(
    "is built anew for %j",
    async (scope) => {
      const { build } = simulate();
      await build(sourceOf(lines, { "a.txt": "x" }));
      expect((await build(sourceOf(lines, { "a.txt": "x" }), { scope })).slice(0, 2)).toEqual(["start", "bring a@a:1"]);
    },
  );

  it("keeps what was built before a step that fails, and tells its line", async () => {
    const { build, failAt } = simulate();
    failAt("RUN make");
    const error = await build(sourceOf(lines, { "a.txt": "x" })).catch(DormouseError.from);
    expect(error).toMatchObject({
      code: "failed_precondition",
      message: "Dockerfile:5: RUN make: the build ended with code 1: said so",
      details: { file: "Dockerfile", line: 5 },
    });
    const mended = [...lines.slice(0, 4), "RUN make it"];
    const happened = await build(sourceOf(mended, { "a.txt": "x" }));
    expect(happened[0]).toMatch(/^start from snap-/);
    expect(happened).not.toContain("bring a@a:1");
  });

  it("keeps nothing of files that were changed while they were brought", async () => {
    const { build } = simulate();
    const source = sourceOf([...lines, "RUN test"], { "a.txt": "x" });
    expect((await build(source, { brought: { "a.txt": "y" } })).filter((what) => what === "keep")).toHaveLength(1);
    // Not the image either.
    expect((await build(source)).filter((what) => what === "keep")).toHaveLength(2);
    expect(await build(source)).toEqual([]);
  });

  it("is built anew when what was kept is gone from its host", async () => {
    const { build, gone } = simulate();
    await build(sourceOf(lines, { "a.txt": "x" }));
    for (let id = 0; id < 20; id++) gone.add(`snap-${id}`);
    expect((await build(sourceOf(lines, { "a.txt": "y" })))[0]).toBe("start");
  });

  it("keeps no step that took less than keeping it takes", async () => {
    const { build } = simulate({ worthKeepingMs: 60_000 });
    expect(await build(sourceOf(lines, { "a.txt": "x" }))).not.toContain("keep");
  });

  it("is not kept from where it takes what may be another one each time", async () => {
    const { build } = simulate();
    const remote = ["FROM a:1", "RUN install", "ADD https://a.test/b /b", "RUN make"];
    expect((await build(sourceOf(remote))).filter((what) => what === "keep")).toHaveLength(1);
  });
});

import { DormouseError } from "@dormouse/base";
import { parseConfig } from "@dormouse/devcontainer";
import { describe, expect, it } from "vitest";
import type { GuestClient } from "../host/client.ts";
import { readDockerfile } from "./dockerfile-source.ts";

const { signal } = new AbortController();

/** Reads the definition of a repository with these files; `contents` stands for what its context has. */
function read(definition: unknown, files: Record<string, string>, env: Record<string, string> = {}, contents = "1") {
  const commands: string[][] = [];
  const guest = {
    files: {
      async read({ path }: { path: string }) {
        const text = files[path.replace("/workspaces/app/", "")];
        if (text === undefined) throw new DormouseError("not_found", `there is no ${path}`);
        return { content: Buffer.from(text).toString("base64") };
      },
    },
    exec: {
      async run({ command }: { command: string[] }) {
        commands.push(command);
        return { exitCode: 0, stdout: `${contents}  -\n`, stderr: "", timedOut: false };
      },
    },
  } as unknown as GuestClient;
  const path = ".devcontainer/devcontainer.json";
  const text = JSON.stringify(definition, null, 2);
  const { config } = parseConfig(text, { path });
  if (!config) throw new Error("the test's own definition is wrong");
  const owner = { id: "ws", folder: "/workspaces/app", env };
  return { source: readDockerfile({ guest, owner, file: { path, text, config }, signal }), commands };
}

const dockerfile = { ".devcontainer/Dockerfile": "ARG TAG=1\nFROM a:$TAG\nCOPY a.txt /\n" };

describe("the Dockerfile of a definition", () => {
  it("is read with all that decides what comes of it", async () => {
    const build = {
      dockerfile: "Dockerfile",
      context: "../app",
      target: "0",
      args: { TAG: "${localEnv:TAG}" },
      cacheFrom: "a:cache",
      options: ["--label=a=b", "--add-host", "c:1.2.3.4", "--network", "host", "--no-cache"],
    };
    const { source, commands } = read({ build }, dockerfile, { TAG: "2" });
    expect(await source).toMatchObject({
      ...{ path: ".devcontainer/Dockerfile", context: "app", target: "0", args: { TAG: "2" } },
      options: ["--label=a=b", "--add-host=c:1.2.3.4"],
      images: [{ name: "a:2", line: 2 }],
      segments: [{ args: { TAG: "2" }, images: ["a:2"], sources: ["a.txt"], steps: [{ line: 2 }, { line: 3 }] }],
      notes: [
        "build.options: --network=host is not passed on",
        "build.options: --no-cache is not passed on",
        "build.cacheFrom: not asked: what was built here once is kept",
      ],
    });
    expect(commands[0]?.slice(-4)).toEqual([...["/workspaces/app/app", "a.txt", ".dockerignore", ".containerignore"]]);
  });

  it("in its older form, and none", async () => {
    const { source } = read({ dockerFile: "../Dockerfile", context: ".." }, { Dockerfile: "FROM a\n" });
    expect(await source).toMatchObject({ path: "Dockerfile", context: ".", segments: [{ sources: [] }] });
    expect(await read({ image: "a" }, {}).source).toBeUndefined();
  });

  it("is another one when anything of it is another", async () => {
    const build = { dockerfile: "Dockerfile", args: { TAG: "${localEnv:TAG:1}" } };
    const all = await Promise.all([
      read({ build }, dockerfile).source,
      read({ build }, dockerfile, { OTHER: "1" }).source,
      read({ build }, dockerfile, { TAG: "2" }).source,
      read({ build: { ...build, target: "0" } }, dockerfile).source,
      read({ build }, { ".devcontainer/Dockerfile": "FROM a\nCOPY a.txt /\n" }).source,
      read({ build }, dockerfile, {}, "2").source,
    ]);
    const [first, same, ...others] = all.map((source) => source?.hash);
    expect(same).toBe(first);
    expect(new Set([first, ...others]).size).toBe(5);
  });

  it.each<[definition: object, files: Record<string, string>, message: RegExp, place: object]>([
    [
      { build: { dockerfile: "../../Dockerfile" } },
      {},
      /^build.dockerfile is "..\/..\/Dockerfile": it leads out of the repository$/,
      { file: ".devcontainer/devcontainer.json", line: 3 },
    ],
    [{ build: { dockerfile: "/etc/passwd" } }, {}, /it leads out of the repository$/, { line: 3 }],
    [{ build: { dockerfile: "Dockerfile", context: "../.." } }, dockerfile, /^build.context is "..\/.."/, { line: 4 }],
    [{ dockerFile: "Dockerfile" }, {}, /^there is no \.devcontainer\/Dockerfile$/, { line: 2 }],
    [
      { dockerFile: "Dockerfile" },
      { ".devcontainer/Dockerfile": "RUN true" },
      /^\.devcontainer\/Dockerfile:1: RUN stands before the first FROM$/,
      { file: ".devcontainer/Dockerfile", line: 1, column: 1 },
    ],
  ])("%j is told with its place", async (definition, files, message, place) => {
    const error = await read(definition, files).source.catch(DormouseError.from);
    expect(error).toMatchObject({ code: "failed_precondition", details: place });
    expect((error as DormouseError).message).toMatch(message);
  });
});

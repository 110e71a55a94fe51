import { describe, expect, it } from "vitest";
import { dockerfileNeeds, findStep } from "./dockerfile.ts";

const needs = (text: string, options: { args?: Record<string, string>; target?: string } = {}) =>
  dockerfileNeeds(text, { architecture: "amd64", ...options });

describe("images that a Dockerfile is built from", () => {
  it.each<[name: string, text: string, images: string[], options?: Parameters<typeof needs>[1]]>([
    ["one", "FROM debian:12\nRUN true\n", ["debian:12"]],
    ["none", "FROM scratch\n", []],
    ["by digest", `FROM a.test/b@sha256:${"0".repeat(64)}`, [`a.test/b@sha256:${"0".repeat(64)}`]],
    ["in small letters, over lines", "# syntax=x/y:1\nfrom \\\n  debian:12 \\\n  as Build\n", ["debian:12"]],
    ["with a default", "ARG TAG=12\nFROM debian:${TAG}\n", ["debian:12"]],
    ["with an argument", "ARG TAG=12\nFROM debian:$TAG\n", ["debian:13"], { args: { TAG: "13" } }],
    ["with an argument of an argument", 'ARG A="x"\nARG B=${A}-y\nFROM img:$B', ["img:x-y"]],
    ["with a word for none", "ARG V\nFROM img:${V:-latest}${V:+no}", ["img:latest"]],
    ["with a word for some", "ARG V=1\nFROM img:${V:+yes}", ["img:yes"]],
    ["an argument that is not declared is none", "FROM debian${TAG}", ["debian"], { args: { TAG: ":13" } }],
    ["its own platform", "FROM --platform=$BUILDPLATFORM debian:12", ["debian:12"]],
    ["stages", "FROM a AS one\nFROM one\nCOPY --from=one /x /y", ["a"]],
    ["stages by number", "FROM a\nFROM b\nCOPY --from=0 /x /y", ["a", "b"]],
    [
      "files of an image",
      "FROM a\nCOPY --from=b:1 /x /y\nRUN --mount=type=bind,from=c,target=/c ls /c",
      ["a", "b:1", "c"],
    ],
    ["not of stages that are not built", "FROM a AS one\nFROM b AS two\nFROM c", ["c"]],
    ["of the target", "FROM a AS one\nFROM b AS two\nCOPY --from=one / /\nFROM c", ["a", "b"], { target: "TWO" }],
    ["a stage is one only for what follows", "FROM debian AS debian\nFROM debian", ["debian"]],
    ["text that only looks like it", "FROM a\nRUN <<EOF\nFROM b\nEOF\n# FROM c", ["a"]],
  ])("%s", (_, text, images, options) => {
    expect(needs(text, options).images.map(({ name }) => name)).toEqual(images);
  });
});

describe("files that a Dockerfile takes from its context", () => {
  it.each<[name: string, lines: string, sources: string[]]>([
    ["none", "RUN true", []],
    ["some", "COPY a.txt ./b/c/ /x/\nADD --chown=1:1 d /d", ["a.txt", "b/c", "d"]],
    ["in brackets", 'COPY ["a file", "/x"]', ["a file"]],
    ["all", "COPY a /a\nCOPY . /x", ["."]],
    ["patterns", "COPY package*.json ./a/?.txt ./", ["a/?.txt", "package*.json"]],
    ["other patterns may be all", "COPY [ab].txt /x", ["."]],
    ["variables may be all", "COPY $A /x", ["."]],
    ["what leads upwards may be all", "COPY ../a /x", ["."]],
    ["not what a stage gives", "COPY --from=other /a /b", []],
    ["not what stands in it or comes from the net", "COPY <<EOF /x\nhello\nEOF\nADD https://a.test/b.tar /b", []],
    ["a mount has all of it", "RUN --mount=target=/src ls /src", ["."]],
    ["or what it names", "RUN --mount=type=bind,source=a.txt,target=/a cat /a", ["a.txt"]],
    ["a cache has nothing of it", "RUN --mount=type=cache,target=/c ls", []],
  ])("%s", (_, lines, sources) => {
    expect(needs(`FROM base\n${lines}\n`).sources).toEqual(sources);
  });
});

describe("a Dockerfile that cannot be built", () => {
  it.each<[text: string, message: RegExp, line: number | null, target?: string]>([
    ["RUN true", /RUN stands before the first FROM/, 1],
    ["ENV A=1\nFROM a", /ENV stands before the first FROM/, 1],
    ["FROM a\nRUN x\nRUM y", /RUM is no instruction/, 3],
    ["", /there is no FROM/, null],
    ["\nARG X\nFROM $X", /FROM \$X names no image/, 3],
    ["ARG X=a@sha256:1\nFROM $X", /FROM \$X is a@sha256:1: a digest must stand in the Dockerfile itself/, 2],
    ["FROM --platform=linux/s390x a", /FROM --platform=linux\/s390x cannot be built: machines are linux\/amd64/, 1],
    ["FROM a\nCOPY --from=3 /x /y", /there is no stage 3 before line 2/, 2],
    ["FROM a AS one", /build.target is "two": there is no such stage; the stages are: one/, null, "two"],
  ])("%j: %s", (text, message, line, target) => {
    const attempt = () => needs(text, target === undefined ? {} : { target });
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ details: { line } }));
  });
});

describe("the step that a build had come to", () => {
  const texts = ["FROM a AS one", "RUN x", "FROM b", "RUN x", "RUN y && \\\n  # why\n  z"];
  const written = texts.map((text, index) => ({ keyword: "", line: index + 1, text }));
  it.each<[steps: string[], line: number | null]>([
    [["FROM a AS one", "RUN x"], 2],
    [["FROM a AS one", "RUN x", "FROM b", "RUN x"], 4],
    [["FROM b", "RUN x", "FROM a AS one", "RUN x"], 2],
    [["FROM b", "RUN y &&   z"], 5],
    [["FROM replaced", "RUN x", "FROM replaced", "RUN x"], 4],
    [["RUN x", "RUN something else"], null],
    [[], null],
  ])("%j: %s", (steps, line) => {
    expect(findStep(written, steps)?.line ?? null).toBe(line);
  });
});

import { dockerfileSegments } from "@dormouse/devcontainer";
import { describe, expect, it } from "vitest";
import { type BuildInputs, imageKey, segmentKeys } from "./segment-keys.ts";

const lines = [
  "FROM a:1",
  "ARG ONE=1",
  "RUN install",
  "COPY lock.json .",
  "RUN fetch",
  "ARG TWO",
  "COPY . .",
  "RUN make $TWO",
];
const contents = { "lock.json": "l", ".": "all", ".dockerignore": "i", ".containerignore": "c" };
const inputs: BuildInputs = {
  scope: { ownerId: "ada", organisationId: "own", repository: "https://git.example/app.git" },
  builder: "template",
  images: [{ name: "a:1", exact: "a@sha256:1" }],
};

interface Change {
  lines?: string[];
  args?: Record<string, string>;
  contents?: Partial<typeof contents>;
  options?: string[];
  inputs?: Partial<BuildInputs>;
}

function keys(change: Change = {}) {
  const { args = { ONE: "1", TWO: "2", NOBODY: "3" }, options = [] } = change;
  const text = (change.lines ?? lines).join("\n");
  const source = {
    segments: dockerfileSegments(text, { args, architecture: "amd64" }),
    contents: new Map(Object.entries({ ...contents, ...change.contents })),
    options,
  };
  return segmentKeys(source, { ...inputs, ...change.inputs });
}

/** How many of the first segments are still found. */
function found(change: Change): number {
  const before = keys();
  const after = keys(change);
  const common = before.findIndex((key, index) => key !== after[index]);
  // A hash of all that came before: what differs once differs from there on.
  if (common >= 0) expect(before.slice(common).filter((key) => after.includes(key))).toEqual([]);
  return common < 0 ? before.length : common;
}

const replace = (from: string, to: string) => ({ lines: lines.map((line) => (line === from ? to : line)) });
const { scope } = inputs;

describe("what was built of a Dockerfile is found again", () => {
  it("under a key for each segment", () => {
    expect(keys()).toHaveLength(3);
    expect(new Set(keys()).size).toBe(3);
  });

  it.each<[name: string, change: Change]>([
    ["the same", {}],
    ["a comment", { lines: ["# hello", ...lines.slice(0, 3), "", "# hello", ...lines.slice(3)] }],
    ["arguments in another order", { args: { TWO: "2", ONE: "1" } }],
    ["an argument that nothing declares", { args: { ONE: "1", TWO: "2", NOBODY: "4" } }],
    ["an image that it does not name", { inputs: { images: [...inputs.images, { name: "b", exact: "b@sha256:1" }] } }],
  ])("after %s", (_, change) => {
    expect(found(change)).toBe(3);
  });

  it.each<[name: string, change: Change, segments: number]>([
    ["its last instruction", replace("RUN make $TWO", "RUN make all"), 2],
    ["one in the middle", replace("RUN fetch", "RUN fetch --all"), 1],
    ["its first instruction", replace("RUN install", "RUN install more"), 0],
    ["one more at the end", { lines: [...lines, "RUN test"] }, 3],
    ["one less", { lines: lines.slice(0, 5) }, 2],
    ["their order", { lines: [...lines.slice(0, 1), "RUN fetch", "COPY lock.json .", "RUN install"] }, 0],
    ["a file that is copied by its name", { contents: { "lock.json": "x" } }, 1],
    ["a file that is copied with all", { contents: { ".": "x" } }, 2],
    ["what is ignored", { contents: { ".dockerignore": "x" } }, 1],
    ["an argument", { args: { ONE: "2", TWO: "2" } }, 0],
    ["a default", replace("ARG ONE=1", "ARG ONE=2"), 0],
    ["an argument that is declared late", { args: { ONE: "1", TWO: "3" } }, 2],
    ["a proxy, which every step can see", { args: { ONE: "1", TWO: "2", https_proxy: "p" } }, 0],
    ["what the image is", { inputs: { images: [{ name: "a:1", exact: "a@sha256:2" }] } }, 0],
    ["the machine that builds", { inputs: { builder: "another" } }, 0],
    ["options", { options: ["--add-host=a:1.2.3.4"] }, 0],
    ["the owner", { inputs: { scope: { ...scope, ownerId: "bob" } } }, 0],
    ["the organisation", { inputs: { scope: { ...scope, organisationId: "acme" } } }, 0],
    ["the repository", { inputs: { scope: { ...scope, repository: "https://git.example/fork.git" } } }, 0],
  ])("up to where it changed: %s", (_, change, segments) => {
    expect(found(change)).toBe(segments);
  });

  it("not from where it takes what may be another one each time", () => {
    const remote = "ADD https://a.test/b /b";
    expect(keys({ lines: [...lines.slice(0, 3), remote, ...lines.slice(3)] })).toEqual(keys().slice(0, 1));
  });

  it("as a whole for the same owner, organisation and repository alone", () => {
    const all = [scope, { ...scope, ownerId: "bob" }, { ...scope, organisationId: "o" }, { ...scope, repository: "r" }];
    const images = all.map((each) => imageKey({ hash: "all" }, { ...inputs, scope: each }));
    expect(new Set(images).size).toBe(4);
    expect(imageKey({ hash: "another" }, inputs)).not.toBe(images[0]);
  });
});

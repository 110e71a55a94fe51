import { describe, expect, test } from "vitest";
import { namesOf, parseFeatureReference } from "./reference.ts";

const digest = `sha256:${"a4".repeat(32)}`;

describe("identifiers", () => {
  test("of a registry, with a version, a digest or neither", () => {
    expect(parseFeatureReference("Registry.example/User/Repo/Go:1.2")).toEqual({
      kind: "registry",
      text: "registry.example/user/repo/go:1.2",
      written: "registry.example/user/repo/go:1.2",
      name: "registry.example/user/repo/go",
      registry: "registry.example",
      namespace: "user/repo",
      id: "go",
      tag: "1.2",
    });
    expect(parseFeatureReference("registry.example/team/go")).toMatchObject({
      text: "registry.example/team/go:latest",
      tag: "latest",
    });
    const pinned = parseFeatureReference(`localhost:5000/team/go@${digest}`);
    expect(pinned).toMatchObject({ registry: "localhost:5000", digest, text: `localhost:5000/team/go@${digest}` });
    expect(pinned).not.toHaveProperty("tag");
  });

  test("of a tarball and of a folder", () => {
    const url = "https://files.example/Path/devcontainer-feature-go.tgz";
    expect(parseFeatureReference(url)).toEqual({ kind: "tarball", text: url, name: url, url });
    expect(parseFeatureReference("./tools/../Go/")).toEqual({
      kind: "local",
      text: "./Go",
      name: "./Go",
      path: "./Go",
    });
    expect(parseFeatureReference("../shared")).toMatchObject({ path: "../shared" });
  });

  test("in short, through a default namespace", () => {
    const options = { defaultNamespace: "registry.example/team/features" };
    expect(parseFeatureReference("git", options)).toMatchObject({
      text: "registry.example/team/features/git:latest",
      written: "git",
    });
    expect(parseFeatureReference("node:1", options)).toMatchObject({
      name: "registry.example/team/features/node",
      tag: "1",
    });
    expect(() => parseFeatureReference("git")).toThrow('feature "git": is a short form');
  });

  test.each([
    ["/tools", "must be a folder, relative to the one of devcontainer.json, such as ./tools"],
    ["./", "must be a folder, relative to the one of devcontainer.json, such as ./tools"],
    ["http://files.example/go.tgz", "must be an https address"],
    ["owner/repo/go", "must be REGISTRY/NAMESPACE/ID[:VERSION], an https address or a folder such as ./tools"],
    ["registry.example/go", "must be REGISTRY/NAMESPACE/ID[:VERSION], an https address or a folder such as ./tools"],
    ["registry.example/team/go:", 'after : a version must follow, such as ":1", ":1.2.3" or ":latest"'],
    ["registry.example/team/go@sha256:12", "after @ a digest must follow: sha256: and 64 hexadecimal digits"],
    ["registry.example/team/", 'its id is "": letters, digits and . _ - between them'],
    ["registry.example/team/g$o", 'its id is "g$o": letters, digits and . _ - between them'],
  ])("%s is refused", (text, message) => {
    expect(() => parseFeatureReference(text)).toThrow(`feature ${JSON.stringify(text)}: ${message}`);
  });
});

test("a renamed feature still has its old names", () => {
  const reference = parseFeatureReference("registry.example/team/renamed:2");
  expect(namesOf(reference, ["Old"])).toEqual(["registry.example/team/renamed", "registry.example/team/old"]);
});

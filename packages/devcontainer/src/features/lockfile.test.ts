import { expect, test } from "vitest";
import { buildGraph } from "./graph.ts";
import { compareLockfile, formatLockfile, lockedFeature, lockfileOf, lockfilePath, parseLockfile } from "./lockfile.ts";
import { parseFeatureReference } from "./reference.ts";

const digestOf = (digit: string) => `sha256:${digit.repeat(64)}`;
const url = "https://files.example/devcontainer-feature-b.tgz";

const nodes = buildGraph(
  { [url]: {}, "Registry.example/t/A:1": {}, "./local": {} },
  {
    lookup: ({ kind, text }) => {
      if (kind === "local") return { metadata: { id: "local", version: "1.0.0" } };
      if (kind === "tarball") return { metadata: { id: "b", version: "1.2.3" }, digest: digestOf("b") };
      const isA = text.includes("/a:");
      return {
        metadata: { id: "x", version: "1.0.4", ...(isA ? { dependsOn: { "registry.example/t/E": {} } } : {}) },
        digest: digestOf(isA ? "a" : "e"),
      };
    },
  },
);

test("records all but local features, in a stable order", () => {
  expect(formatLockfile(lockfileOf(nodes))).toBe(`{
  "features": {
    "https://files.example/devcontainer-feature-b.tgz": {
      "version": "1.2.3",
      "resolved": "https://files.example/devcontainer-feature-b.tgz",
      "integrity": "${digestOf("b")}"
    },
    "registry.example/t/a:1": {
      "version": "1.0.4",
      "resolved": "registry.example/t/a@${digestOf("a")}",
      "integrity": "${digestOf("a")}",
      "dependsOn": [
        "registry.example/t/e"
      ]
    },
    "registry.example/t/e": {
      "version": "1.0.4",
      "resolved": "registry.example/t/e@${digestOf("e")}",
      "integrity": "${digestOf("e")}"
    }
  }
}
`);
  expect(formatLockfile(lockfileOf(nodes.toReversed()))).toBe(formatLockfile(lockfileOf(nodes)));
});

test("is read as it was written", () => {
  const text = formatLockfile(lockfileOf(nodes));
  const { lockfile, problems } = parseLockfile(text, { path: "devcontainer-lock.json" });
  expect(problems).toEqual([]);
  expect(lockfile && formatLockfile(lockfile)).toBe(text);
  expect(lockfile && compareLockfile(lockfile, nodes)).toEqual([]);
});

test("differences are told", () => {
  const { features } = lockfileOf(nodes);
  const a = features["registry.example/t/a:1"];
  if (!a) throw new Error("a is not locked");
  const { [url]: _, ...others } = features;
  const changed = {
    ...others,
    "registry.example/t/a:1": { ...a, integrity: digestOf("0") },
    "registry.example/t/gone:1": a,
  };
  expect(compareLockfile({ features: changed }, nodes)).toEqual([
    { feature: url, kind: "missing", message: `${url} is not in the lock file` },
    {
      feature: "registry.example/t/a:1",
      kind: "changed",
      message: `registry.example/t/a:1 is locked at 1.0.4 (${digestOf("0")}), found 1.0.4 (${digestOf("a")})`,
    },
    {
      feature: "registry.example/t/gone:1",
      kind: "unused",
      message: "registry.example/t/gone:1 is in the lock file but not used",
    },
  ]);
});

test("what is wrong is explained", () => {
  const text = '{"features": {"a": {"version": "1", "resolved": "x", "integrity": "md5:1"}, "b": {}}}';
  const { lockfile, problems } = parseLockfile(text, { path: "devcontainer-lock.json" });
  expect(lockfile).toBeUndefined();
  expect(problems.map(({ property, message }) => `${property}: ${message}`)).toEqual([
    'features.a.integrity: is "md5:1": must be sha256: and 64 hexadecimal digits',
    "features.b.version: is missing: must be a string",
    "features.b.resolved: is missing: must be a string",
    "features.b.integrity: is missing: must be sha256: and 64 hexadecimal digits",
  ]);
});

test("a lock file lies beside its definition, and holds features by their identifiers", () => {
  const paths = [".devcontainer/devcontainer.json", ".devcontainer.json", ".devcontainer/a/devcontainer.json"];
  expect(paths.map(lockfilePath)).toEqual([
    ".devcontainer/devcontainer-lock.json",
    ".devcontainer-lock.json",
    ".devcontainer/a/devcontainer-lock.json",
  ]);
  const entry = { version: "1.0.0", resolved: "x", integrity: `sha256:${"0".repeat(64)}` };
  const lockfile = { features: { "registry.example/a/tool": entry, "https://files.example/b.tgz": entry } };
  const held = ["registry.example/a/tool:latest", "registry.example/a/tool:2", "https://files.example/b.tgz", "./tool"];
  expect(held.map((text) => lockedFeature(lockfile, parseFeatureReference(text)) === entry)).toEqual([
    ...[true, false, true, false],
  ]);
});

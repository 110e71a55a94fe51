import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FeatureValue } from "../config.ts";
import { buildGraph, equalFeatures, type FeatureContents } from "./graph.ts";
import type { FeatureMetadata } from "./metadata.ts";
import { installationOrder } from "./order.ts";

const namespace = "registry.example/t";
const options = { defaultNamespace: namespace };

type Catalogue = Record<string, Partial<FeatureMetadata> & { digest?: string }>;

/** Features by their short identifier; whatever is not listed has no metadata but its id. */
function lookupIn(catalogue: Catalogue) {
  return ({ text }: { text: string }): FeatureContents | undefined => {
    const short = text.replace(`${namespace}/`, "").replace(/:latest$/, "");
    const { digest = `digest of ${short}`, ...metadata } = catalogue[short] ?? {};
    if (short === "absent") return undefined;
    return { metadata: { id: short, version: "1.0.0", ...metadata }, digest };
  };
}

function order(
  features: string[] | Record<string, FeatureValue>,
  catalogue: Catalogue = {},
  override: string[] = [],
): string[] {
  const wanted = Array.isArray(features) ? Object.fromEntries(features.map((feature) => [feature, {}])) : features;
  const nodes = installationOrder({
    ...options,
    features: wanted,
    overrideFeatureInstallOrder: override,
    lookup: lookupIn(catalogue),
  });
  return nodes.map(({ reference, given }) => {
    const short = reference.text.replace(`${namespace}/`, "").replace(/:latest$/, "");
    return Object.keys(given).length === 0 ? short : `${short} ${JSON.stringify(given)}`;
  });
}

describe("rounds", () => {
  test("without dependencies one round, by name", () => {
    expect(order(["c", "a", "b"])).toEqual(["a", "b", "c"]);
  });

  test("hard dependencies come first and are added, recursively", () => {
    const catalogue = { a: { dependsOn: { z: {} } }, z: { dependsOn: { y: { fast: true } } } };
    expect(order(["a", "b"], catalogue)).toEqual(["b", 'y {"fast":true}', "z", "a"]);
  });

  test("soft dependencies come first if they are there, and are not added, not recursively", () => {
    const catalogue = { a: { installsAfter: ["z:2", "absent"] }, z: { installsAfter: ["y"] } };
    expect(order(["a", "b", "z"], catalogue)).toEqual(["b", "z", "a"]);
    expect(order(["a", "b"], catalogue)).toEqual(["a", "b"]);
  });

  test("a soft dependency waits for every version that is installed, and for what a dependency brings", () => {
    const catalogue = { a: { installsAfter: ["z"] }, b: { dependsOn: { "z:2": {} } } };
    expect(order(["a", "b", "z:1"], catalogue)).toEqual(["z:1", "z:2", "a", "b"]);
  });

  test("a soft dependency knows the old name of a renamed feature", () => {
    const catalogue = { a: { installsAfter: ["old"] }, renamed: { legacyIds: ["old"] } };
    expect(order(["a", "renamed"], catalogue)).toEqual(["renamed", "a"]);
  });

  test("what is ready in an earlier round stands before what is ready in a later one, whatever its name", () => {
    const catalogue = { a: { installsAfter: ["m"] }, m: { installsAfter: ["z"] } };
    expect(order(["a", "m", "y", "z"], catalogue)).toEqual(["y", "z", "m", "a"]);
  });

  test("one round: older versions first, then more options, their names, their values, the digest", () => {
    expect(order(["x", "x:1.10", "x:1.9", "x:1", "x:2"])).toEqual(["x:1.9", "x:1.10", "x:1", "x:2", "x"]);
    const catalogue: Catalogue = {
      u: { dependsOn: { x: { b: "1" } } },
      v: { dependsOn: { x: { a: "2" } } },
      w: { dependsOn: { x: { a: "1" } } },
      y: { dependsOn: { x: { a: "1", b: "2" } } },
      z: { dependsOn: { x: {} } },
    };
    expect(order(["u", "v", "w", "y", "z"], catalogue).slice(0, 5)).toEqual([
      'x {"a":"1","b":"2"}',
      'x {"a":"1"}',
      'x {"a":"2"}',
      'x {"b":"1"}',
      "x",
    ]);
  });
});

describe("overrideFeatureInstallOrder", () => {
  test("pulls forward: the first of the list alone in the first round, and so on", () => {
    expect(order(["a", "b", "c", "d"], {}, ["d", "c"])).toEqual(["d", "c", "a", "b"]);
  });

  test("not before its dependencies, then as early as can be", () => {
    const catalogue = { d: { dependsOn: { z: {} } } };
    // Round 1: a, b, z are ready without priority; round 2 is d alone, c having had its own before.
    expect(order(["a", "b", "c", "d"], catalogue, ["c", "d"])).toEqual(["c", "a", "b", "z", "d"]);
    const soft = { d: { installsAfter: ["b"] } };
    expect(order(["a", "b", "d", "e"], { ...soft, e: { installsAfter: ["a"] } }, ["d"])).toEqual(["a", "b", "d", "e"]);
  });

  test("counts for every version and ignores what is not installed", () => {
    expect(order(["a", "b:1", "b:2"], {}, ["nobody", "b:9"])).toEqual(["b:1", "b:2", "a"]);
  });

  test("is refused where it contradicts the dependencies", () => {
    const catalogue = { a: { installsAfter: ["m"] }, m: { dependsOn: { z: {} } } };
    expect(() => order(["a", "m"], catalogue, ["a", "z"])).toThrow(
      "overrideFeatureInstallOrder has registry.example/t/a before registry.example/t/z: registry.example/t/a depends on registry.example/t/z and must stand behind it",
    );
    expect(order(["a", "m"], catalogue, ["z", "a"])).toEqual(["z", "m", "a"]);
  });
});

describe("refusals", () => {
  test("a circle is named", () => {
    const hard = { a: { dependsOn: { b: {} } }, b: { dependsOn: { c: {} } }, c: { dependsOn: { b: {} } } };
    expect(() => order(["a", "x"], hard)).toThrow(
      "features depend on each other in a circle: registry.example/t/b:latest → registry.example/t/c:latest → registry.example/t/b:latest; one of their dependsOn or installsAfter must go",
    );
    const soft = { a: { installsAfter: ["b"] }, b: { dependsOn: { a: {} } } };
    expect(() => order(["a", "b"], soft)).toThrow(
      "a:latest → registry.example/t/b:latest → registry.example/t/a:latest",
    );
    expect(() => order(["./a"], { "./a": { dependsOn: { "./a": {} } } })).toThrow("circle: ./a → ./a;");
  });

  test("what is not there is named with who wants it", () => {
    expect(() => order(["a"], { a: { dependsOn: { absent: {} } } })).toThrow(
      "feature registry.example/t/absent:latest, which registry.example/t/a:latest depends on, was not found",
    );
    expect(() => order(["absent"])).toThrow(expect.objectContaining({ code: "not_found" }));
  });
});

describe("equality", () => {
  const nodes = (features: Record<string, FeatureValue>, catalogue: Catalogue) =>
    buildGraph(features, { ...options, lookup: lookupIn(catalogue) });

  test("is that of digest and options, defaults included", () => {
    const version = { type: "string" as const, default: "1" };
    const catalogue = { x: { digest: "same", options: { version } }, "x:1": { digest: "same", options: { version } } };
    expect(nodes({ x: {}, "x:1": { version: "1" } }, catalogue)).toHaveLength(1);
    expect(nodes({ x: {}, "x:1": { version: "2" } }, catalogue)).toHaveLength(2);
    expect(
      nodes({ x: {}, "x:1": {} }, { ...catalogue, "x:1": { digest: "other", options: { version } } }),
    ).toHaveLength(2);
  });

  test("a tarball is its contents, a local feature its folder", () => {
    const same = { digest: "same" };
    const [first, second] = ["https://a.example/f.tgz", "https://b.example/f.tgz"] as const;
    expect(nodes({ [first]: {}, [second]: {} }, { [first]: same, [second]: same })).toHaveLength(1);
    expect(nodes({ "./a": {}, "./b": {} }, { "./a": same, "./b": same })).toHaveLength(2);
    const [node] = nodes({ "./a": {} }, {});
    expect(node && equalFeatures(node, { ...node })).toBe(true);
  });
});

test("for any graph without circles every dependency stands before who needs it, and the input's order is no matter", () => {
  const ids = ["a", "b", "c", "d", "e", "f"];
  const graphs = fc.array(fc.record({ from: fc.nat(5), to: fc.nat(5), hard: fc.boolean() }), { maxLength: 10 });
  fc.assert(
    fc.property(graphs, fc.shuffledSubarray(ids, { minLength: 1 }), (edges, wanted) => {
      const catalogue: Catalogue = Object.fromEntries(
        ids.map((id) => [id, { dependsOn: {}, installsAfter: [] as string[] }]),
      );
      for (const { from, to, hard } of edges) {
        // Edges only lead to later letters, so that there is no circle.
        const [dependent, needed] = [ids[Math.min(from, to)] ?? "", ids[Math.max(from, to)] ?? ""];
        if (from === to) continue;
        if (hard) Object.assign(catalogue[dependent]?.dependsOn ?? {}, { [needed]: {} });
        else catalogue[dependent]?.installsAfter?.push(needed);
      }
      const result = order(wanted, catalogue);
      for (const [index, id] of result.entries()) {
        const { dependsOn = {}, installsAfter = [] } = catalogue[id] ?? {};
        for (const needed of Object.keys(dependsOn)) expect(result.slice(0, index)).toContain(needed);
        for (const needed of installsAfter)
          if (result.includes(needed)) expect(result.slice(0, index)).toContain(needed);
      }
      expect(new Set(result).size).toBe(result.length);
      expect(order(wanted.toReversed(), catalogue)).toEqual(result);
    }),
    { seed: 20_261_127, numRuns: 500 },
  );
});

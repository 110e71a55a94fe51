import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MetadataEntry } from "./config.ts";
import { customizationsOf } from "./customizations.ts";
import { parseImageMetadata } from "./image-metadata.ts";
import { combine, mergeable, mergeConfig } from "./merge.ts";

const merge = (image: MetadataEntry[], config: MetadataEntry = {}, features: MetadataEntry[] = []) =>
  mergeConfig({ image, features, config });

describe("the merge table, property by property", () => {
  test("init and privileged are true if one is", () => {
    expect(merge([{ init: true }], { init: false, privileged: false })).toMatchObject({
      init: true,
      privileged: false,
    });
  });

  test("capAdd and securityOpt are unions", () => {
    const merged = merge([{ capAdd: ["A", "B"], securityOpt: ["x"] }], { capAdd: ["B", "C"], securityOpt: ["x", "y"] });
    expect(merged).toMatchObject({ capAdd: ["A", "B", "C"], securityOpt: ["x", "y"] });
  });

  test("entrypoints are collected", () => {
    expect(merge([{ entrypoint: "/a" }, { entrypoint: "/b" }], {}, [{ entrypoint: "/c" }]).entrypoints).toEqual([
      "/a",
      "/b",
      "/c",
    ]);
  });

  test("of mounts with one target the last wins", () => {
    const merged = merge([{ mounts: ["type=volume,source=a,target=/x", "source=b,dst=/y", "broken"] }], {
      mounts: [{ type: "bind", source: "/c", target: "/x" }, "broken"],
    });
    expect(merged.mounts).toEqual([{ type: "bind", source: "/c", target: "/x" }, "source=b,dst=/y", "broken"]);
  });

  test("lifecycle commands are collected: image, features, file", () => {
    const merged = merge(
      [{ postCreateCommand: "image" }, { id: "old", postCreateCommand: ["old"] }],
      { postCreateCommand: { a: "file" } },
      [{ id: "node", postCreateCommand: "node" }],
    );
    expect(merged.hooks.postCreateCommand).toEqual([
      { from: "image", command: "image" },
      { from: "old", command: ["old"] },
      { from: "node", command: "node" },
      { from: "devcontainer.json", command: { a: "file" } },
    ]);
    expect(merged.hooks.onCreateCommand).toEqual([]);
  });

  test("an empty command is none, and only the file has one for the host", () => {
    const image = { initializeCommand: "evil", postStartCommand: "" } as MetadataEntry;
    const merged = mergeConfig({ image: [image], config: { initializeCommand: "mine", postStartCommand: [] } });
    expect(merged.initializeCommand).toBe("mine");
    expect(merged.hooks.postStartCommand).toEqual([]);
    expect(mergeConfig({ image: [image], config: {} })).not.toHaveProperty("initializeCommand");
  });

  test("of single values the last wins, also when it is false", () => {
    const first = {
      waitFor: "onCreateCommand",
      containerUser: "a",
      remoteUser: "a",
      userEnvProbe: "none",
      overrideCommand: true,
      otherPortsAttributes: { label: "a", protocol: "http" },
      shutdownAction: "none",
      updateRemoteUserUID: true,
    } satisfies MetadataEntry;
    const last = {
      waitFor: "postCreateCommand",
      containerUser: "b",
      remoteUser: "b",
      userEnvProbe: "loginShell",
      overrideCommand: false,
      otherPortsAttributes: { label: "b" },
      shutdownAction: "stopContainer",
      updateRemoteUserUID: false,
    } satisfies MetadataEntry;
    expect(merge([first], last)).toMatchObject(last);
    expect(merge([first], last).otherPortsAttributes).toEqual({ label: "b" });
    expect(merge([first], { remoteUser: undefined })).toMatchObject(first);
  });

  test("environments are merged per variable, ports' attributes per port", () => {
    const merged = merge(
      [
        {
          remoteEnv: { A: "1", B: "1" },
          containerEnv: { C: "1" },
          portsAttributes: { "3000": { label: "a", protocol: "http" }, "1": {} },
        },
      ],
      { remoteEnv: { B: null }, containerEnv: { D: "2" }, portsAttributes: { "3000": { label: "b" } } },
    );
    expect(merged.remoteEnv).toEqual({ A: "1", B: null });
    expect(merged.containerEnv).toEqual({ C: "1", D: "2" });
    expect(merged.portsAttributes).toEqual({ "3000": { label: "b" }, "1": {} });
  });

  test("forwarded ports are a union; a number is a port of the container itself", () => {
    const merged = merge([{ forwardPorts: [3000, "db:5432"] }], { forwardPorts: ["localhost:3000", 8080, "db:5432"] });
    expect(merged.forwardPorts).toEqual(["localhost:3000", "db:5432", 8080]);
  });

  test("of requirements the larger wins, each by itself", () => {
    const merged = merge([{ hostRequirements: { cpus: 8, memory: "512mb", storage: "1tb", gpu: "optional" } }], {
      hostRequirements: { cpus: 2, memory: "8gb", storage: "900gb", gpu: false },
    });
    expect(merged.hostRequirements).toEqual({ cpus: 8, memory: "8gb", storage: "1tb", gpu: "optional" });
    const gpus = merge([{ hostRequirements: { gpu: { cores: 4, memory: "1gb" } } }], {
      hostRequirements: { gpu: { cores: 2, memory: "2gb" } },
    });
    expect(gpus.hostRequirements).toEqual({ gpu: { cores: 4, memory: "2gb" } });
  });

  test("customizations are collected per tool", () => {
    const merged = merge([{ customizations: { vscode: { a: 1 } } }], {
      customizations: { vscode: { b: 2 }, other: 3 },
    });
    expect(merged.customizations).toEqual({ vscode: [{ a: 1 }, { b: 2 }], other: [3] });
  });

  test("names that JavaScript gives a meaning are names like all others", () => {
    const entry = JSON.parse('{"remoteEnv": {"__proto__": "x"}, "customizations": {"__proto__": {"polluted": true}}}');
    const merged = merge([entry], entry);
    expect(Object.keys(merged.remoteEnv)).toEqual(["__proto__"]);
    expect(Object.keys(merged.customizations)).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

test("our block: dormouse before exai, later before earlier, property by property and port by port", () => {
  const merged = merge(
    [{ customizations: { dormouse: { egress: { allow: ["a"] }, ports: { "1": { visibility: "private" } } } } }],
    {
      customizations: {
        exai: { dotfiles: { repository: "exai" }, egress: { allow: ["b"] }, ports: { "2": { visibility: "public" } } },
        dormouse: { prebuild: { trigger: ["push"], ttl: "1d" }, ports: { "1": { visibility: "public" } } },
      },
    },
  );
  expect(customizationsOf(merged)).toEqual({
    dotfiles: { repository: "exai" },
    egress: { allow: ["a"] },
    prebuild: { trigger: ["push"], ttl: "1d" },
    ports: { "1": { visibility: "public" }, "2": { visibility: "public" } },
  });
  expect(customizationsOf(merge([]))).toEqual({});
});

describe("an image's label", () => {
  test("holds a list of entries, or one alone", () => {
    expect(parseImageMetadata('[{"id": "node", "init": true}, {"remoteUser": "dev"}]')).toEqual({
      entries: [{ id: "node", init: true }, { remoteUser: "dev" }],
      problems: [],
    });
    expect(parseImageMetadata('{"remoteUser": "dev"}').entries).toEqual([{ remoteUser: "dev" }]);
  });

  test("may come from a definition with Compose", () => {
    expect(parseImageMetadata('{"shutdownAction": "stopCompose", "overrideCommand": false}').problems).toEqual([]);
  });

  test("is validated; what is unknown is left", () => {
    const wrong = parseImageMetadata('[{"remoteUser": 3}, {"customizations": {"dormouse": {"ports": 3}}}, 4]');
    expect(wrong.entries).toBeUndefined();
    expect(wrong.problems.map(({ property, message }) => `${property}: ${message}`)).toEqual([
      "[0].remoteUser: is 3: must be a string",
      "[1].customizations.dormouse.ports: is 3: must be an object",
      "[2]: is 4: must be an object",
    ]);
    const newer = parseImageMetadata('{"newProperty": 1}');
    expect(newer.entries).toEqual([{ newProperty: 1 }]);
    expect(newer.problems).toMatchObject([
      { severity: "warning", property: "newProperty", file: "devcontainer.metadata" },
    ]);
    expect(parseImageMetadata("no").problems).toMatchObject([{ line: 1, column: 1 }]);
  });
});

describe("for any entries", () => {
  const names = fc.constantFrom("a", "b", "__proto__");
  const sizes = fc.constantFrom("1", "1kb", "1024", "2gb");
  const entries: fc.Arbitrary<MetadataEntry> = fc.record(
    {
      id: names,
      init: fc.boolean(),
      capAdd: fc.array(names),
      entrypoint: names,
      mounts: fc.array(fc.constantFrom("target=/a,source=x", "target=/a,source=y", "target=/b", "broken")),
      postCreateCommand: fc.constantFrom("x", ["y"], { z: "z" }, ""),
      customizations: fc.dictionary(names, fc.integer()),
      remoteUser: names,
      remoteEnv: fc.dictionary(names, fc.option(names)),
      forwardPorts: fc.array(fc.constantFrom<number | string>(1, 2, "localhost:1", "db:1")),
      portsAttributes: fc.dictionary(names, fc.record({ label: names })),
      hostRequirements: fc.record(
        {
          cpus: fc.integer({ min: 1, max: 4 }),
          memory: sizes,
          storage: sizes,
          gpu: fc.constantFrom(true, false, "optional" as const, { cores: 1 }, { memory: "1gb" }, {}),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );
  const parts = entries.map((entry) => mergeable(entry, "x"));

  test("it does not matter which neighbours are merged first", () => {
    fc.assert(
      fc.property(parts, parts, parts, (a, b, c) => {
        expect(combine(combine(a, b), c)).toEqual(combine(a, combine(b, c)));
      }),
      { seed: 20_261_127, numRuns: 2_000 },
    );
  });

  test("unions have no duplicates and lose nothing", () => {
    fc.assert(
      fc.property(fc.array(entries, { maxLength: 5 }), entries, (image, config) => {
        const merged = merge(image, config);
        for (const list of [merged.capAdd, merged.forwardPorts, merged.mounts] as unknown[][])
          expect(new Set(list).size).toBe(list.length);
        expect(new Set(merged.capAdd)).toEqual(new Set([...image, config].flatMap(({ capAdd = [] }) => capAdd)));
        expect(merge([...image, config], config).capAdd).toEqual(merged.capAdd);
      }),
      { seed: 20_261_127, numRuns: 1_000 },
    );
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { checkLayer, type EgressLayer, type EgressLayers, hostRules, mergeLayers } from "./layers.ts";
import { type Attempt, decide, parsePolicy } from "./policy.ts";

const allows = (layers: EgressLayers, name: string, repository: string | null = null) =>
  decide(parsePolicy(mergeLayers(layers, repository)), { protocol: "web", name, port: 443 }).isAllowed;

test("the default lets registries and the repository's own host through, and nothing else", () => {
  expect(allows({}, "registry.npmjs.org")).toBe(true);
  expect(allows({}, "git.example")).toBe(false);
  expect(allows({}, "git.example", "https://git.example/team/app.git")).toBe(true);
  expect(allows({}, "evil.test", "https://git.example/team/app.git")).toBe(false);
  expect(allows({ workspace: { mode: "none" } }, "registry.npmjs.org")).toBe(false);
  expect(allows({ workspace: { mode: "open" } }, "evil.test")).toBe(true);
});

test("a repository's host is let through by its protocol and port", () => {
  expect(hostRules("https://git.example/a.git")).toEqual(["git.example:443"]);
  expect(hostRules("http://git.example:3000/a.git")).toEqual(["git.example:3000"]);
  expect(hostRules("http://192.0.2.1:3000/a.git")).toEqual(["tcp:192.0.2.1:3000"]);
  expect(hostRules("ssh://git@git.example/a.git")).toEqual(["tcp:git.example:22"]);
  expect(hostRules("git@git.example:team/a.git")).toEqual(["tcp:git.example:22"]);
  expect(hostRules("file:///srv/a.git")).toEqual([]);
  expect(hostRules(null)).toEqual([]);
});

test("layers add up, the most specific mode holds, and presets are named", () => {
  const layers = {
    installation: { mode: "none" as const, allow: ["preset:npm"] },
    template: { allow: ["a.test"] },
    repository: { deny: ["b.test"] },
    workspace: { allow: ["b.test", "c.test"] },
  };
  expect(["registry.npmjs.org", "a.test", "c.test"].every((name) => allows(layers, name))).toBe(true);
  expect(["b.test", "pypi.org"].some((name) => allows(layers, name))).toBe(false);
  expect(allows({ ...layers, workspace: { mode: "default" } }, "pypi.org")).toBe(true);
  expect(() => mergeLayers({ workspace: { allow: ["preset:nmp"] } }, null)).toThrow(
    'egress.allow has "preset:nmp"; there are the presets npm, yarn, pypi',
  );
  expect(() => checkLayer({ deny: ["preset:npm"] })).toThrow("presets allow; leave the mode default instead");
  expect(() => checkLayer({ cap: ["a b"] })).toThrow('egress.cap has "a b"');
});

test("an organisation's cap holds whatever the layers below it say, and its deny wins", () => {
  const organisation = { cap: ["*.a.test", "preset:npm"], deny: ["bad.a.test"] };
  const below = { allow: ["x.a.test", "bad.a.test", "b.test"], cap: ["b.test", "*.a.test"] };
  for (const layers of [
    { organisation, workspace: below },
    { organisation, repository: below },
    { organisation, template: { mode: "open" as const }, workspace: below },
  ]) {
    expect(allows(layers, "x.a.test")).toBe(true);
    expect(["bad.a.test", "b.test", "pypi.org"].some((name) => allows(layers, name))).toBe(false);
  }
});

test("open within a cap is the cap", () => {
  const layers = { installation: { mode: "open" as const, cap: ["*.a.test"] } };
  expect(allows(layers, "x.a.test")).toBe(true);
  expect(allows(layers, "b.test")).toBe(false);
});

const names = ["a.test", "b.a.test", "c.test"];
const rules = fc.array(fc.constantFrom(...names, "*.a.test", "*", "10.0.0.0/8", "10.1.0.0/16:22"), { maxLength: 3 });
const layer: fc.Arbitrary<EgressLayer> = fc.record(
  {
    mode: fc.constantFrom("open" as const, "default" as const, "none" as const),
    allow: rules,
    deny: fc.array(fc.constantFrom(...names, "*.a.test", "10.0.0.0/8"), { maxLength: 2 }),
    cap: rules,
  },
  { requiredKeys: [] },
);
const attempts: Attempt[] = [
  ...names.map((name): Attempt => ({ protocol: "web", name, port: 443 })),
  { protocol: "tcp", address: 0x0a010001, port: 22 },
  { protocol: "tcp", address: 0x0a020001, port: 22 },
];

test("no lower layer gets past a deny or a cap of a higher one", () => {
  fc.assert(
    fc.property(layer, layer, layer, (installation, repository, workspace) => {
      const merged = parsePolicy(mergeLayers({ installation, repository, workspace }, null));
      const capped = parsePolicy(mergeLayers({ installation: { mode: "none", allow: installation.cap ?? [] } }, null));
      for (const attempt of attempts) {
        if (!decide(merged, attempt).isAllowed) continue;
        for (const { deny = [] } of [installation, repository, workspace]) {
          expect(decide(parsePolicy({ mode: "open", allow: [], deny, caps: [] }), attempt).isAllowed).toBe(true);
        }
        if (installation.cap) expect(decide(capped, attempt).isAllowed).toBe(true);
      }
    }),
  );
});

import { describe, expect, test } from "vitest";
import { featureEntry, parseFeatureMetadata } from "./metadata.ts";
import { optionEnvironmentName, resolveOptions } from "./options.ts";

const python = {
  id: "python",
  version: "1.0.0",
  options: {
    version: { type: "string" as const, enum: ["latest", "3.10"], default: "latest" },
    pip: { type: "boolean" as const, default: true },
    optimize: { type: "boolean" as const, default: true },
    flavour: { type: "string" as const, proposals: ["a"], default: "a" },
  },
};

describe("options", () => {
  test("as in the specification's example", () => {
    const { environment, options, unknown } = resolveOptions(python, { version: "3.10", pip: false });
    expect(environment).toEqual({ VERSION: "3.10", PIP: "false", OPTIMIZE: "true", FLAVOUR: "a" });
    expect(options).toMatchObject({ pip: false, optimize: true });
    expect(unknown).toEqual([]);
  });

  test("a string alone is the version, also of a feature that has no such option", () => {
    expect(resolveOptions({ id: "x", version: "1.0.0" }, "9.x")).toMatchObject({
      environment: { VERSION: "9.x" },
      unknown: [],
    });
  });

  test("what is unknown is passed on and told", () => {
    const { environment, unknown } = resolveOptions(python, { optimise: true, flavour: "free", zzz: "1" });
    expect(environment).toMatchObject({ OPTIMISE: "true", FLAVOUR: "free" });
    expect(unknown).toEqual([{ name: "optimise", suggestion: "optimize" }, { name: "zzz" }]);
  });

  test.each([
    [{ version: "2.7" }, 'option version of feature python is "2.7": must be one of "latest", "3.10"'],
    [{ pip: "yes" }, 'option pip of feature python is "yes": must be true or false'],
    [{ flavour: true }, "option flavour of feature python is true: must be a string"],
  ])("%j is refused", (value, message) => {
    expect(() => resolveOptions(python, value)).toThrow(message);
  });

  test.each([
    ["nodeGypDependencies", "NODEGYPDEPENDENCIES"],
    ["install-zsh", "INSTALL_ZSH"],
    ["1_2version", "_VERSION"],
    ["a b.c", "A_B_C"],
  ])("%s becomes %s", (name, variable) => {
    expect(optionEnvironmentName(name)).toBe(variable);
  });
});

describe("devcontainer-feature.json", () => {
  test("is read", () => {
    const { metadata, problems } = parseFeatureMetadata(JSON.stringify({ ...python, name: "Python" }), {
      path: "f.json",
    });
    expect(problems).toEqual([]);
    expect(metadata?.options?.pip).toEqual({ type: "boolean", default: true });
  });

  test("is explained when it is wrong", () => {
    const text = JSON.stringify({
      id: "x",
      options: {
        a: { type: "boolean", default: "yes" },
        b: { type: "number" },
        c: { type: "string", enum: "x", default: "x" },
      },
      mounts: ["type=volume"],
      onCreateComand: "x",
    });
    const { metadata, problems } = parseFeatureMetadata(text, { path: "f.json" });
    expect(metadata).toBeUndefined();
    expect(problems.map(({ property, message }) => `${property}: ${message}`)).toEqual([
      "version: is missing: must be a string",
      'options.a.default: is "yes": must be true or false',
      "options.b.default: is missing: must be true or false",
      'options.b.type: is "number": must be "boolean"',
      'options.c.enum: is "x": must be a list of strings',
      'mounts[0]: is "type=volume": must be an object',
      "onCreateComand: is no property of devcontainer-feature.json; did you mean onCreateCommand?",
    ]);
  });

  test("may not depend on who uses it", () => {
    const { problems } = parseFeatureMetadata(
      JSON.stringify({
        id: "x",
        version: "1",
        entrypoint: "/x ${devcontainerId}",
        containerEnv: { A: "${devcontainerId}", P: "/x:${PATH}" },
      }),
      { path: "f.json" },
    );
    expect(problems.map(({ severity, property, message }) => `${severity} ${property}: ${message}`)).toEqual([
      "warning containerEnv.A: holds ${devcontainerId}: it may not stand in containerEnv, since an image must not depend on who uses it",
    ]);
  });

  test("gives to the merge what the table lists for features", () => {
    const metadata = { ...python, containerEnv: { A: "b" }, init: true, postStartCommand: "x", installsAfter: ["a"] };
    expect(featureEntry("registry.example/t/python:1", metadata)).toEqual({
      id: "registry.example/t/python:1",
      init: true,
      postStartCommand: "x",
    });
  });
});

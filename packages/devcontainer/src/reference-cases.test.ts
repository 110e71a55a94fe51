// What the specification's reference implementation (github.com/devcontainers/cli, src/test) shows with its examples, as
// cases of our own: the same definitions in short, the same outcome.

import { describe, expect, test } from "vitest";
import type { FeatureValue, MetadataEntry } from "./config.ts";
import { customizationsOf } from "./customizations.ts";
import { dockerfileNeeds } from "./dockerfile.ts";
import { compareLockfile, formatLockfile, lockfileOf, parseLockfile } from "./features/lockfile.ts";
import { type FeatureMetadata, featureEntry } from "./features/metadata.ts";
import { installationOrder } from "./features/order.ts";
import { imageMetadataLabel, parseImageMetadata } from "./image-metadata.ts";
import { type LifecyclePlan, lifecyclePlan } from "./lifecycle.ts";
import { mergeConfig } from "./merge.ts";
import { parseMount } from "./mounts.ts";
import { parseConfig } from "./parse.ts";
import { sourceOf } from "./source.ts";
import { probeShellOf, remoteEnvironment, usersOf } from "./users.ts";
import { devcontainerId, substituteContainer, substituteLocal } from "./variables.ts";

type Features = Record<string, Partial<FeatureMetadata> & { digest?: string }>;

/** A definition as the platform puts it together: parsed, its features in order, merged with what its image says. */
function open(definition: unknown, features: Features = {}, image: MetadataEntry[] = []) {
  const text = typeof definition === "string" ? definition : JSON.stringify(definition);
  const { config, problems } = parseConfig(text, { path: ".devcontainer/devcontainer.json" });
  const errors = problems.filter(({ severity }) => severity === "error");
  expect(errors).toEqual([]);
  if (!config) throw new Error("a definition without errors was not read");
  const nodes = orderOf(config.features ?? {}, features, config.overrideFeatureInstallOrder);
  const entries = nodes.map(({ reference, metadata }) => featureEntry(reference.text, metadata));
  const merged = mergeConfig({ image, features: entries, config });
  return { config, nodes, merged, plan: lifecyclePlan(merged) };
}

function orderOf(wanted: Record<string, FeatureValue>, features: Features, overrideFeatureInstallOrder: string[] = []) {
  return installationOrder({
    features: wanted,
    overrideFeatureInstallOrder,
    lookup: ({ kind, text, name }) => {
      const found = features[text] ?? features[name] ?? features[text.replace(/:latest$/, "")];
      if (!found) return undefined;
      const { digest = kind === "local" ? undefined : `digest of ${name}`, ...metadata } = found;
      return { metadata: { id: name, version: "0.0.1", ...metadata }, ...(digest !== undefined && { digest }) };
    },
  });
}

/** Identifiers with the options that were given, as they are installed. */
function install(...args: Parameters<typeof orderOf>): string[] {
  return orderOf(...args).map(({ reference, given }) => {
    const short = reference.text.replace("registry.example/dependson/", "").replace(/:latest$/, "");
    const options = Object.values(given).join(" ");
    return options === "" ? short : `${short} ${options}`;
  });
}

const number = { options: { magicNumber: { type: "string" as const, default: "0" } } };
const magic = (magicNumber: string) => ({ magicNumber });

describe("features/installsAfter", () => {
  test("local-simple: what is not installed is not waited for", () => {
    const features = { "./a": { ...number, installsAfter: ["./b", "./c"] }, "./c": number };
    expect(install({ "./a": {}, "./c": magic("321") }, features)).toEqual(["./c 321", "./a"]);
  });

  test("invalid-circular is refused", () => {
    const features = {
      "./a": { installsAfter: ["./b"] },
      "./b": { installsAfter: ["./c"] },
      "./c": { installsAfter: ["./a"] },
    };
    expect(() => install({ "./a": {}, "./b": {}, "./c": {} }, features)).toThrow(/circle/);
  });
});

/** Features of one registry that depend on each other. */
const published: Features = Object.fromEntries(
  Object.entries({
    a: { e: "50" },
    b: { c: "20", d: "30" },
    c: { a: "40", e: "50" },
    d: {},
    e: {},
    f: { g: "10" },
    g: { h: "20" },
    h: { f: "30" },
  }).map(([id, needed]) => [
    `registry.example/dependson/${id}`,
    {
      ...number,
      dependsOn: Object.fromEntries(
        Object.entries(needed).map(([other, value]) => [
          `registry.example/dependson/${other.toUpperCase()}`,
          magic(value),
        ]),
      ),
    },
  ]),
);

describe("features/dependsOn", () => {
  test("local-simple: what is needed comes first, with the options that its dependent gives", () => {
    expect(install({ "./a": {} }, { "./a": { dependsOn: { "./b": magic("50") } }, "./b": number })).toEqual([
      "./b 50",
      "./a",
    ]);
  });

  test("local-with-options: one feature with other options is another installation, sorted by their number and values", () => {
    const options = {
      optA: { type: "string" as const, default: "0" },
      optB: { type: "string" as const, default: "0" },
    };
    const b = (optA: string, optB: string) => ({ optA, optB });
    const features = {
      "./a": { options, dependsOn: { "./b": b("a", "a"), "./c": {} } },
      "./b": { options },
      "./c": { options, dependsOn: { "./b": b("b", "a"), "./d": {}, "./e": {} } },
      "./d": { options, dependsOn: { "./b": b("b", "b") } },
      "./e": { options, dependsOn: { "./b": {} } },
    };
    const order = install({ "./a": b("a", "b"), "./b": b("a", "b") }, features);
    expect(order).toHaveLength(9);
    expect(order.slice(0, 5).toSorted()).toEqual(["./b", "./b a a", "./b a b", "./b b a", "./b b b"]);
    expect(order.slice(5)).toEqual(["./d", "./e", "./c", "./a a b"]);
  });

  test("oci-ab: the same feature with two sets of options is installed twice", () => {
    const wanted = { "registry.example/dependson/b": magic("400"), "registry.example/dependson/a": magic("10") };
    const nodes = orderOf(wanted, published);
    expect(install(wanted, published)).toEqual(["d 30", "e 50", "a 10", "a 40", "c 20", "b 400"]);
    expect(nodes[2]?.digest).toBe(nodes[3]?.digest);
  });

  test("tgz-ab: tarballs depend on features of a registry", () => {
    const [a, b] = ["https://files.example/feature-a.tgz", "https://files.example/feature-b.tgz"] as const;
    const { "registry.example/dependson/a": ofA = {}, "registry.example/dependson/b": ofB = {} } = published;
    const features = { ...published, [a]: { ...ofA, digest: "tgz a" }, [b]: { ...ofB, digest: "tgz b" } };
    const order = install({ [b]: magic("400"), [a]: magic("10") }, features);
    expect(order.slice(0, 2)).toEqual(["d 30", "e 50"]);
    expect(order.slice(2, 4).toSorted()).toEqual(["a 40", `${a} 10`]);
    expect(order.slice(4)).toEqual(["c 20", `${b} 400`]);
  });

  test("oci-fgh and invalid-circular are refused", () => {
    expect(() => install({ "registry.example/dependson/f": magic("10") }, published)).toThrow(/circle/);
    const circle = {
      "./a": { dependsOn: { "./b": {} } },
      "./b": { dependsOn: { "./c": magic("50") } },
      "./c": { dependsOn: { "./a": magic("50") } },
    };
    expect(() => install({ "./a": {} }, circle)).toThrow(/circle/);
  });

  test("dependsOn-and-installsAfter: only what is needed is added", () => {
    const features = {
      "./a": { installsAfter: ["./b"], dependsOn: { "./c": magic("321") } },
      "./b": number,
      "./c": number,
    };
    expect(install({ "./a": {} }, features)).toEqual(["./c 321", "./a"]);
  });
});

describe("features/overrideFeatureInstallOrder", () => {
  test("local-simple: one of several dependencies first", () => {
    const features = { "./a": { dependsOn: { "./b": {}, "./c": {}, "./d": {} } }, "./b": {}, "./c": {}, "./d": {} };
    expect(install({ "./a": {} }, features, ["./c"])).toEqual(["./c", "./b", "./d", "./a"]);
  });

  test("local-intermediate: two, beside a dependency of a dependency", () => {
    const features = {
      "./a": { dependsOn: { "./b": {}, "./d": {} }, installsAfter: ["./c"] },
      "./b": { dependsOn: { "./c": {} } },
      "./c": {},
      "./d": {},
    };
    expect(install({ "./a": {} }, features, ["./c", "./d"])).toEqual(["./c", "./d", "./b", "./a"]);
  });

  test("local-roundPriority: a priority beats what depends on nothing", () => {
    const features = { "./a": {}, "./b": { dependsOn: { "./a": {} } }, "./c": {} };
    expect(install({ "./b": {}, "./c": {} }, features, ["./a", "./b", "./c"])).toEqual(["./a", "./b", "./c"]);
  });

  test("mixed: folders and a registry", () => {
    const features = {
      ...published,
      "./a": { dependsOn: { "./b": {}, "./c": {}, "./d": {}, "registry.example/dependson/b": magic("400") } },
      "./b": {},
      "./c": {},
      "./d": {},
    };
    const order = install({ "./a": {} }, features, ["registry.example/dependson/a", "./d"]);
    expect(order).toHaveLength(9);
    expect(order[0]).toBe("./d");
    expect(order.slice(1, 5).toSorted()).toEqual(["./b", "./c", "d 30", "e 50"]);
    expect(order.slice(5)).toEqual(["a 40", "c 20", "b 400", "./a"]);
  });

  test("image-with-v2-features: a folder, a tarball and a digest, pulled forward by their names", () => {
    const python = `registry.example/features/python@sha256:${"6".repeat(64)}`;
    const tarball = "https://files.example/docker-in-docker.tgz";
    const features: Features = {
      [python]: {},
      "registry.example/other/python": {},
      "./localFeatureA": {},
      "./localFeatureB": {},
      [tarball]: {},
    };
    const wanted = Object.fromEntries(Object.keys(features).map((identifier) => [identifier, {}]));
    const order = install(wanted, features, ["./localFeatureA", tarball, "registry.example/features/python"]);
    expect(order.slice(0, 3)).toEqual(["./localFeatureA", tarball, python]);
    expect(order.slice(3).toSorted()).toEqual(["./localFeatureB", "registry.example/other/python"]);
  });
});

/** Of each step: who gives what to it, in the order in which it runs. */
function commandsOf({ steps }: LifecyclePlan, hook: string): unknown[] {
  const step = steps.find((candidate) => candidate.hook === hook);
  return (step?.tasks ?? []).map(({ from, commands }) => [
    from,
    ...commands.map((command) =>
      [command.name, command.kind === "shell" ? command.line : command.argv].filter(Boolean).flat(),
    ),
  ]);
}

const machineHooks = [
  "onCreateCommand",
  "updateContentCommand",
  "postCreateCommand",
  "postStartCommand",
  "postAttachCommand",
];

describe("lifecycle-hooks", () => {
  test("inline-commands: features in the order of their installation, then the file, in every step", () => {
    const hooksOf = (name: string) => Object.fromEntries(machineHooks.map((hook) => [hook, `mark ${name}.${hook}`]));
    const definition = {
      build: { dockerfile: "Dockerfile" },
      features: { "./tiger": {}, "./panda": {} },
      ...hooksOf("file"),
    };
    const features = { "./tiger": { ...hooksOf("tiger"), installsAfter: ["./panda"] }, "./panda": hooksOf("panda") };
    const { plan } = open(definition, features);
    for (const hook of machineHooks) {
      expect(commandsOf(plan, hook)).toEqual([
        ["./panda", [`mark panda.${hook}`]],
        ["./tiger", [`mark tiger.${hook}`]],
        ["devcontainer.json", [`mark file.${hook}`]],
      ]);
    }
  });

  test("advanced: lines, lists and objects, side by side within one giver", () => {
    const hooksOf = (name: string) => ({
      updateContentCommand: `/usr/${name} updateContentCommand`,
      postCreateCommand: { parallel1: `/usr/${name} 1`, parallel2: [`/usr/${name}`, "2"] },
      postStartCommand: [`/usr/${name}`, "postStartCommand"],
    });
    const definition = {
      build: { dockerfile: "Dockerfile" },
      features: { "./otter": {}, "./rabbit": {} },
      postCreateCommand: { parallel1: "mark 1", parallel2: ["mark", "2"] },
      postStartCommand: "touch `rabbit`.marker",
    };
    const { plan } = open(definition, { "./otter": hooksOf("otter"), "./rabbit": hooksOf("rabbit") });
    expect(commandsOf(plan, "postCreateCommand")).toEqual([
      ["./otter", ["parallel1", "/usr/otter 1"], ["parallel2", "/usr/otter", "2"]],
      ["./rabbit", ["parallel1", "/usr/rabbit 1"], ["parallel2", "/usr/rabbit", "2"]],
      ["devcontainer.json", ["parallel1", "mark 1"], ["parallel2", "mark", "2"]],
    ]);
    expect(commandsOf(plan, "postStartCommand")).toEqual([
      ["./otter", ["/usr/otter", "postStartCommand"]],
      ["./rabbit", ["/usr/rabbit", "postStartCommand"]],
      ["devcontainer.json", ["touch `rabbit`.marker"]],
    ]);
  });

  test("resume-existing-container: what is for each start and each tool is all that a later one runs", () => {
    const features = { "./hippo": { onCreateCommand: "once", postStartCommand: "start", postAttachCommand: "attach" } };
    const { steps } = open({ build: { dockerfile: "Dockerfile" }, features: { "./hippo": {} } }, features).plan;
    const again = steps.filter(({ occasions }) => !occasions.includes("create"));
    expect(again.map(({ hook }) => hook)).toEqual(["postStartCommand", "postAttachCommand"]);
  });

  test("dockerfile-with-parallel-commands: named commands of a step, with a comma after the last", () => {
    const text = `{
      "build": { "dockerfile": "Dockerfile", "args": { "VARIANT": "16-bullseye" } },
      "postCreateCommand": { "one": "touch /tmp/1 && echo one", "two": "touch /tmp/2" },
      "postAttachCommand": { "one": "echo attached" },
    }`;
    const { plan } = open(text);
    expect(commandsOf(plan, "postCreateCommand")).toEqual([
      ["devcontainer.json", ["one", "touch /tmp/1 && echo one"], ["two", "touch /tmp/2"]],
    ]);
    expect(commandsOf(plan, "postAttachCommand")).toEqual([["devcontainer.json", ["one", "echo attached"]]]);
  });

  test("image-with-parallel-initialize-command: understood, and run nowhere", () => {
    const initializeCommand = { one: "touch ${localWorkspaceFolder}/1", two: "touch ${localWorkspaceFolder}/2" };
    const [step] = open({ image: "registry.example/alpine", initializeCommand }).plan.steps;
    expect(step).toMatchObject({
      hook: "initializeCommand",
      runsIn: "nowhere",
      tasks: [{ commands: [{ name: "one" }, { name: "two" }] }],
    });
  });
});

describe("image", () => {
  test("remoteEnv: text of any kind, and variables of both sides", () => {
    const remoteEnv = {
      TEST: "ENV",
      TEST_ESCAPING: '{\n  "fo$o": "ba\'r"\n}',
      LOCAL_PATH: "${localEnv:PATH}",
      CONTAINER_PATH: "${containerEnv:PATH}",
    };
    const { merged } = open({
      image: "registry.example/ubuntu",
      remoteEnv,
      postCreateCommand: 'echo "Val: $TEST" >/val',
    });
    const local = { localEnv: { PATH: "/local/bin" }, localWorkspaceFolder: "/w" };
    const written = substituteLocal(merged.remoteEnv, local);
    expect(remoteEnvironment({ remoteEnv: written }, { containerEnv: { PATH: "/bin" } })).toEqual({
      ...{ PATH: "/bin", TEST: "ENV", TEST_ESCAPING: remoteEnv.TEST_ESCAPING },
      ...{ LOCAL_PATH: "/local/bin", CONTAINER_PATH: "/bin" },
    });
  });

  test("image-metadata-containerEnv: values stay as they are written", () => {
    const containerEnv = {
      VAR_WITH_LOTS_OF_SPACES: "    value with    lots of spaces.    ",
      VAR_WITH_QUOTES_WE_WANT_TO_KEEP: 'value with "quotes" we want to keep',
      VAR_WITH_DOLLAR_SIGN: "value with $dollar sign",
      VAR_WITH_BACK_SLASH: "value with \\back slash",
      FORMAT: "[$${severity}] [$${walltime:%Y-%m-%d %H:%M:%S}]: $${message}",
    };
    const { merged } = open({ image: "registry.example/base", containerEnv });
    expect(substituteLocal(merged.containerEnv, { localEnv: {}, localWorkspaceFolder: "/w" })).toEqual(containerEnv);
  });

  test("image-with-features and example: comments, features with a version alone or with options", () => {
    const text = `// an example
    {
      "image": "registry.example/base:latest", // of Debian
      "features": { "registry.example/features/github-cli:1": { "version": "latest" }, "registry.example/features/git:1": "os" }
    }`;
    const { nodes } = open(text, { "registry.example/features/github-cli": {}, "registry.example/features/git": {} });
    expect(nodes.map(({ reference, given }) => [reference.text, given])).toEqual([
      ["registry.example/features/git:1", { version: "os" }],
      ["registry.example/features/github-cli:1", { version: "latest" }],
    ]);
  });

  test("image-with-mounts: a volume without a name", () => {
    const { merged } = open({ image: "registry.example/base", mounts: [{ target: "/home/config", type: "volume" }] });
    expect(merged.mounts.map(parseMount)).toMatchObject([{ type: "volume", target: "/home/config" }]);
    expect(parseMount(merged.mounts[0] ?? "")).not.toHaveProperty("source");
  });
});

describe("Dockerfile", () => {
  const imagesOf = (text: string, options: { args?: Record<string, string>; target?: string } = {}) =>
    dockerfileNeeds(text, { ...options, architecture: "amd64" }).images.map(({ name }) => name);
  const dockerfile = [
    'ARG VARIANT="16-bullseye"',
    "FROM alpine as false-start",
    "FROM registry.example/node:1-${VARIANT} as desired-image",
    'RUN echo "content" >/var/marker',
    "FROM alpine as false-finish",
  ].join("\n");

  test("dockerfile-with-target: the stage that is wanted and what it starts from, with arguments, nothing else", () => {
    const build = { dockerfile: "Dockerfile", target: "desired-image", args: { VARIANT: "18-bookworm" } };
    const { config } = open({ build: { ...build, options: ["--label", "test_build_options=success"] } });
    const source = sourceOf(config);
    expect(source).toMatchObject({ kind: "dockerfile", dockerfile: "Dockerfile" });
    expect(imagesOf(dockerfile, { args: build.args, target: build.target })).toEqual([
      "registry.example/node:1-18-bookworm",
    ]);
  });

  test("dockerfile-without-features: the last stage, and its own default", () => {
    expect(imagesOf(dockerfile)).toEqual(["alpine"]);
    const { config } = open({ dockerFile: "Dockerfile", context: ".." });
    expect(sourceOf(config)).toMatchObject({ kind: "dockerfile", dockerfile: "Dockerfile", context: ".." });
  });

  test("dockerfile-with-syntax: a line for the tool that builds is no instruction", () => {
    const text = `# syntax=docker/dockerfile:1\n# a comment\n${dockerfile.split("\n").slice(0, 1)}\nFROM registry.example/node:1-\${VARIANT}`;
    expect(imagesOf(text)).toEqual(["registry.example/node:1-16-bullseye"]);
  });
});

describe("image metadata", () => {
  test("image-metadata: the image's entries, the features', each with its origin", () => {
    const label = JSON.stringify([{ id: "baseFeature", remoteUser: "ada" }]);
    const { entries = [] } = parseImageMetadata(label);
    const features: Features = {
      "./localFeatureA": {
        init: true,
        customizations: { vscode: { extensions: ["one", "two"] } },
        updateContentCommand: ["one", "two"],
        onCreateCommand: { command: "three", commandWithArgs: ["four", "arg1", "arg2"] },
        postCreateCommand: "five",
      },
      "./localFeatureB": { privileged: true },
    };
    const definition = {
      image: "registry.example/base",
      features: { "./localFeatureA": "latest", "./localFeatureB": "latest" },
    };
    const { merged, plan } = open(definition, features, entries);
    expect(merged).toMatchObject({ init: true, privileged: true, remoteUser: "ada" });
    expect(merged.customizations.vscode).toEqual([{ extensions: ["one", "two"] }]);
    expect(commandsOf(plan, "updateContentCommand")).toEqual([["./localFeatureA", ["one", "two"]]]);
    expect(commandsOf(plan, "onCreateCommand")).toEqual([
      ["./localFeatureA", ["command", "three"], ["commandWithArgs", "four", "arg1", "arg2"]],
    ]);
    expect(imageMetadataLabel).toBe("devcontainer.metadata");
  });

  test("one entry may stand alone; the file's user goes before the image's", () => {
    const { entries = [] } = parseImageMetadata(JSON.stringify({ id: "testId", remoteUser: "testMetadataUser" }));
    expect(entries).toHaveLength(1);
    const { merged } = open({ image: "registry.example/base", remoteUser: "testConfigUser" }, {}, entries);
    expect(usersOf(merged, "testContainerUser")).toEqual({
      containerUser: "testContainerUser",
      remoteUser: "testConfigUser",
    });
    expect(usersOf(open({ image: "registry.example/base" }, {}, entries).merged).remoteUser).toBe("testMetadataUser");
  });

  test("remoteEnv is merged per variable, the later the stronger", () => {
    const entries: MetadataEntry[] = [
      { remoteEnv: { ENV1: "feature1", ENV2: "feature1", ENV3: "feature1", ENV4: "feature1" } },
      { remoteEnv: { ENV1: "feature2", ENV2: "feature2" } },
    ];
    const definition = { image: "registry.example/base", remoteEnv: { ENV1: "file", ENV3: "file" } };
    const expected = { ENV1: "file", ENV2: "feature2", ENV3: "file", ENV4: "feature1" };
    expect(open(definition, {}, entries).merged.remoteEnv).toEqual(expected);
  });

  test("mounts: of one target the last, in whatever words it is written", () => {
    const entries: MetadataEntry[] = [
      {
        mounts: [
          "source=source1,dst=/1,type=volume",
          "source=source2,target=/2,type=volume",
          "source=source3,destination=/3,type=volume",
        ],
      },
      { mounts: [{ source: "source4", target: "/1", type: "volume" }] },
      { mounts: [{ source: "source5", target: "/3", type: "volume" }] },
    ];
    const mounts = open({ image: "registry.example/base" }, {}, entries).merged.mounts.map(parseMount);
    expect(Object.fromEntries(mounts.map(({ target, source }) => [target, source]))).toEqual({
      "/1": "source4",
      "/2": "source2",
      "/3": "source5",
    });
  });

  test("requirements of a graphics processor: the most that anybody asks for", () => {
    const entries: MetadataEntry[] = [
      { hostRequirements: { gpu: true } },
      { hostRequirements: { gpu: { cores: 4 } } },
      { hostRequirements: { gpu: { memory: "8gb" } } },
    ];
    const definition = { image: "registry.example/base", hostRequirements: { gpu: "optional" } };
    expect(open(definition, {}, entries).merged.hostRequirements.gpu).toMatchObject({ cores: 4, memory: "8gb" });
  });
});

describe("variables", () => {
  const variables = {
    localEnv: { baz: "somevalue" },
    localWorkspaceFolder: "/foo/bar",
    containerWorkspaceFolder: "/baz/blue",
  };

  test.each([
    ["bar${env:baz}bar", "barsomevaluebar"],
    ["bar${localEnv:baz}bar", "barsomevaluebar"],
    ["bar${localWorkspaceFolder}bar", "bar/foo/barbar"],
    ["bar${containerWorkspaceFolder}bar", "bar/baz/bluebar"],
    ["bar${localEnv:none:default}bar", "bardefaultbar"],
    ["bar${localEnv:none}bar", "barbar"],
    ["bar${localEnv:baz:default}bar", "barsomevaluebar"],
    ["bar${localEnv:none:default:a:b:c}bar", "bardefaultbar"],
  ])("%s is %s", (text, expected) => {
    expect(substituteLocal({ foo: text }, variables)).toEqual({ foo: expected });
  });

  test("the folder in the machine may be named after the local one", () => {
    const folder = substituteLocal("/baz/${localWorkspaceFolderBasename}", {
      localEnv: {},
      localWorkspaceFolder: "/foo/red",
    });
    expect(
      substituteLocal("bar${containerWorkspaceFolder}bar", { ...variables, containerWorkspaceFolder: folder }),
    ).toBe("bar/baz/redbar");
  });

  test("the container's environment has defaults too", () => {
    expect(substituteContainer("bar${containerEnv:baz:default}bar", { containerEnv: {} })).toBe("bardefaultbar");
  });

  test("devcontainerId: all labels matter, their order does not", () => {
    const id = (labels: Record<string, string>) =>
      substituteLocal("${devcontainerId}", { ...variables, devcontainerId: devcontainerId(labels) });
    expect(id({ a: "b" })).toMatch(/^[0-9a-v]{52}$/);
    expect(id({ a: "b" })).not.toBe(id({ a: "b", c: "d" }));
    expect(id({ c: "d", a: "b" })).toBe(id({ a: "b", c: "d" }));
  });
});

describe("lock files", () => {
  const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
  const [flower, color] = ["registry.example/features/flower", "registry.example/features/color"] as const;
  const url = "https://files.example/feature-d.tgz";
  const features: Features = {
    [`${flower}:1.0.0`]: { version: "1.0.0", digest: digest("c") },
    [`${color}:1.0.4`]: { version: "1.0.4", digest: digest("6") },
    [`${color}:1.0.5`]: { version: "1.0.5", digest: digest("a") },
    [url]: { version: "2.0.0", digest: digest("4") },
  };

  test("lockfile: version, what it was, and its digest, sorted, the same each time", () => {
    const nodes = orderOf({ [`${flower}:1.0.0`]: {}, [`${color}:1.0.4`]: {}, [url]: {} }, features);
    const text = formatLockfile(lockfileOf(nodes));
    expect(JSON.parse(text)).toEqual({
      features: {
        [`${color}:1.0.4`]: { version: "1.0.4", resolved: `${color}@${digest("6")}`, integrity: digest("6") },
        [`${flower}:1.0.0`]: { version: "1.0.0", resolved: `${flower}@${digest("c")}`, integrity: digest("c") },
        [url]: { version: "2.0.0", resolved: url, integrity: digest("4") },
      },
    });
    expect(Object.keys(JSON.parse(text).features)).toEqual([url, `${color}:1.0.4`, `${flower}:1.0.0`]);
    expect(formatLockfile(lockfileOf(nodes.toReversed()))).toBe(text);
  });

  test("lockfile-outdated: a version that was changed in the file replaces its entry, and the others stay", () => {
    const before = lockfileOf(orderOf({ [`${flower}:1.0.0`]: {}, [`${color}:1.0.4`]: {} }, features));
    const nodes = orderOf({ [`${flower}:1.0.0`]: {}, [`${color}:1.0.5`]: {} }, features);
    expect(compareLockfile(before, nodes).map(({ kind, feature }) => [kind, feature])).toEqual([
      ["missing", `${color}:1.0.5`],
      ["unused", `${color}:1.0.4`],
    ]);
    expect(lockfileOf(nodes).features[`${flower}:1.0.0`]).toEqual(before.features[`${flower}:1.0.0`]);
  });

  test("lockfile-dependson: what a feature needs is recorded with it, and has an entry of its own", () => {
    const needed = "registry.example/dependson/e";
    const nodes = orderOf(
      { "registry.example/dependson/A:2": {} },
      {
        "registry.example/dependson/a:2": { dependsOn: { [needed]: {} }, digest: digest("9") },
        [needed]: { digest: digest("e") },
      },
    );
    expect(lockfileOf(nodes).features).toMatchObject({
      "registry.example/dependson/a:2": { dependsOn: [needed] },
      [needed]: { integrity: digest("e") },
    });
  });

  test("lockfile-oci-integrity: another digest is told with the feature", () => {
    const nodes = orderOf({ [`${color}:1.0.4`]: {} }, features);
    const entry = { version: "1.0.0", resolved: `${color}@${digest("0")}`, integrity: digest("0") };
    const { lockfile } = parseLockfile(JSON.stringify({ features: { [`${color}:1.0.4`]: entry } }), { path: "lock" });
    expect(compareLockfile(lockfile ?? { features: {} }, nodes)).toMatchObject([
      { kind: "changed", feature: `${color}:1.0.4` },
    ]);
  });
});

test("dotfiles, users and shells of definitions that say nothing", () => {
  const { merged } = open({ image: "registry.example/base" });
  expect(customizationsOf(merged)).toEqual({});
  expect(usersOf(merged)).toEqual({ containerUser: "root", remoteUser: "root" });
  expect(probeShellOf(merged)).toEqual({ login: true, interactive: true });
});

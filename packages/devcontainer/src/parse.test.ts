import { describe, expect, test } from "vitest";
import { parseConfig } from "./parse.ts";
import { sourceOf } from "./source.ts";

const path = ".devcontainer/devcontainer.json";
const parse = (text: string | object) => parseConfig(typeof text === "string" ? text : JSON.stringify(text), { path });
const shown = (text: string | object) =>
  parse(text).problems.map(
    ({ line, column, severity, property, message }) => `${line}:${column} ${severity} ${property}: ${message}`,
  );

describe("what the specification shows is valid", () => {
  test("an image, with comments and trailing commas", () => {
    const { config, problems } = parse(`\uFEFF// For all of us.
{
  "image": "registry.example/base:1", /* pinned */
  "forwardPorts": [3000, "db:5432",],
  "customizations": { "vscode": { "extensions": ["team.linter"] } },
}
`);
    expect(problems).toEqual([]);
    expect(config?.forwardPorts).toEqual([3000, "db:5432"]);
    expect(config && sourceOf(config)).toEqual({ kind: "image", image: "registry.example/base:1" });
  });

  test("a Dockerfile, in both ways to write it", () => {
    const build = { dockerfile: "Dockerfile", context: "..", target: "development", args: { A: "${localEnv:B}" } };
    const { config, problems } = parse({ build: { ...build, cacheFrom: ["a", "b"], options: ["--pull"] } });
    expect(problems).toEqual([]);
    expect(config && sourceOf(config)).toEqual({ kind: "dockerfile", dockerfile: "Dockerfile", context: ".." });
    const older = parse({ dockerFile: "Dockerfile", context: "..", build: { args: { A: "1" } } });
    expect(older.problems).toEqual([]);
    expect(older.config && sourceOf(older.config)).toEqual({
      kind: "dockerfile",
      dockerfile: "Dockerfile",
      context: "..",
    });
  });

  test("Compose", () => {
    const compose = {
      dockerComposeFile: ["a.yml", "b.yml"],
      service: "app",
      workspaceFolder: "/w",
      runServices: ["db"],
    };
    const { config, problems } = parse({ ...compose, shutdownAction: "stopCompose" });
    expect(problems).toEqual([]);
    expect(config && sourceOf(config)).toEqual({ kind: "compose", files: ["a.yml", "b.yml"], service: "app" });
  });

  test("every form of a lifecycle command, and everything else at once", () => {
    const { problems } = parse({
      $schema: "https://schemas.example/devContainer.base.schema.json",
      name: "all",
      image: "x",
      features: { "registry.example/team/node:1": "20", "./tools": { fast: true }, "https://files.example/f.tgz": {} },
      overrideFeatureInstallOrder: ["registry.example/team/node"],
      secrets: { TOKEN: { description: "for tests", documentationUrl: "https://docs.example" } },
      portsAttributes: { "3000": { label: "web" }, "4000-4100": { onAutoForward: "ignore" }, ".+/server.js": {} },
      otherPortsAttributes: { onAutoForward: "silent" },
      updateRemoteUserUID: true,
      containerEnv: { A: "${localWorkspaceFolder}" },
      remoteEnv: { PATH: "${containerEnv:PATH}:/x", GONE: null },
      containerUser: "root",
      remoteUser: "dev",
      mounts: ["type=volume,source=x-${devcontainerId},target=/x", { type: "bind", source: "/a", target: "/b" }],
      init: true,
      privileged: false,
      capAdd: ["SYS_PTRACE"],
      securityOpt: ["seccomp=unconfined"],
      initializeCommand: "true",
      onCreateCommand: ["npm", "ci"],
      updateContentCommand: { a: "b", c: ["d", "e"] },
      postCreateCommand: "",
      postStartCommand: {},
      postAttachCommand: [],
      waitFor: "postCreateCommand",
      userEnvProbe: "none",
      hostRequirements: { cpus: 2, memory: "8gb", storage: "1024", gpu: { cores: 1000, memory: "4gb" } },
      appPort: [3000, "8000:8010"],
      runArgs: ["--name", "x"],
      overrideCommand: false,
      shutdownAction: "none",
      workspaceFolder: "/workspace",
      workspaceMount: "source=${localWorkspaceFolder},target=/workspace,type=bind,consistency=cached",
      customizations: {
        dormouse: {
          prebuild: { trigger: ["push", "pr", { cron: "0 3 * * 1" }], ttl: "14d" },
          dotfiles: { repository: "https://git.example/me/dotfiles", installCommand: "./install", targetPath: "~/dot" },
          egress: { allow: ["registry.example", "*.files.example", "git.example:22"] },
          ports: { "3000": { visibility: "organisation" } },
        },
      },
    });
    expect(problems).toEqual([]);
  });
});

describe("bad input is explained", () => {
  const cases: [text: string | object, problems: string[]][] = [
    ["", ["1:1 error : is empty: must be a JSON object"]],
    ["[]", ["1:1 error : is a list: must be an object"]],
    ['{\n  "image": "x"\n  "name": "y"\n}', ["3:3 error : a comma must stand here"]],
    ['{\n  "image": "x', ["2:12 error : this string has no closing double quote on its line"]],
    ["{'image': 'x'}", ["1:2 error : this is no JSON value: strings need double quotes"]],
    ['{"image": "x"', ["1:14 error : a closing brace } must stand here"]],
    [{}, ["1:1 warning : names nothing to start from (image, build.dockerfile or dockerComposeFile): base is used"]],
    [{ image: 3 }, ["1:10 error image: is 3: must be a string"]],
    [
      { image: "x", dockerComposeFile: "c.yml", service: "app" },
      [
        "1:14 error dockerComposeFile: cannot be combined: image and dockerComposeFile each say what to start from; only one of them may be there",
      ],
    ],
    [{ build: { context: "." } }, ["1:10 error build.dockerfile: is missing: must be a string"]],
    [{ dockerComposeFile: "c.yml", workspaceFolder: "/" }, ["1:1 error service: is missing: must be a string"]],
    [
      { dockerComposeFile: "c.yml", service: "app", runArgs: [] },
      [
        "1:2 warning dockerComposeFile: stands without workspaceFolder: the repository is opened, not /",
        "1:46 warning runArgs: has no meaning with dockerComposeFile, only with image, build.dockerfile, dockerFile",
      ],
    ],
    [
      { image: "x", forwardPort: [3000] },
      ["1:14 warning forwardPort: is no property of devcontainer.json; did you mean forwardPorts?"],
    ],
    [
      { image: "x", forwardPorts: [70000, true, "db", "db:99999"] },
      [
        "1:30 error forwardPorts[0]: is 70000: must be a whole number from 0 to 65535",
        '1:36 error forwardPorts[1]: is true: must be a whole number from 0 to 65535 or "host:port" such as "db:5432"',
        '1:41 error forwardPorts[2]: is "db": must be "host:port" such as "db:5432"',
        '1:46 error forwardPorts[3]: is "db:99999": must be a whole number from 0 to 65535 or "host:port" with one',
      ],
    ],
    [
      { image: "x", appPort: ["8080:3000", "web", "${localEnv:PORT}:3000"] },
      [
        '1:37 error appPort[1]: is "web": must be a port from 1 to 65535, or ports to publish such as "8080:3000", at most 100 of them',
      ],
    ],
    [
      { image: "x", userEnvProbe: "loginshell" },
      [
        '1:29 error userEnvProbe: is "loginshell": must be one of "none", "loginShell", "loginInteractiveShell", "interactiveShell"; did you mean "loginShell"?',
      ],
    ],
    [
      { image: "x", postCreateCommand: 3, onCreateCommand: { a: 1 } },
      [
        "1:34 error postCreateCommand: is 3: must be a string, a list of strings or an object",
        "1:59 error onCreateCommand.a: is 1: must be a string or a list of strings",
      ],
    ],
    [
      { image: "x", hostRequirements: { cpus: 0, memory: "8 gigs", gpu: "yes" } },
      [
        "1:41 error hostRequirements.cpus: is 0: must be a whole number of at least 1",
        '1:52 error hostRequirements.memory: is "8 gigs": must be a size such as "8gb", in tb, gb, mb, kb or bytes',
        '1:67 error hostRequirements.gpu: is "yes": must be one of true, false, "optional"',
      ],
    ],
    [
      { image: "x", mounts: [{ type: "volume" }, 3, "type=bind,target=/x", "type=disk,target=/x", "quiet,target=/x"] },
      [
        "1:24 error mounts[0].target: is missing: must be a string",
        "1:42 error mounts[1]: is 3: must be an object or a string",
        "1:44 error mounts[2]: source is missing: a bind mount must say what it shows",
        '1:66 error mounts[3]: type is "disk": must be one of bind, volume, tmpfs',
        '1:88 error mounts[4]: "quiet" must be KEY=VALUE',
      ],
    ],
    [
      { image: "x", secrets: { "1A": {} }, remoteEnv: { A: 1 } },
      [
        '1:25 error secrets["1A"]: must be named by the name of an environment variable: letters, digits and _, no digit first',
        "1:51 error remoteEnv.A: is 1: must be a string or null",
      ],
    ],
    [
      { image: "x", portsAttributes: { "[": {}, "9-3": {}, "3000": { onAutoForward: "open" } } },
      [
        '1:57 error portsAttributes["3000"].onAutoForward: is "open": must be one of "notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"',
        '1:65 error portsAttributes["["]: must be named by a port, a range of ports or a valid regular expression',
        '1:72 error portsAttributes["9-3"]: must be named by a range with its lower port first',
      ],
    ],
    [
      { image: "x", workspaceMount: "source=/a,target=/b,type=bind" },
      ["1:14 error workspaceMount: needs workspaceFolder beside it"],
    ],
    [
      { image: "x", features: { git: {}, "a/b": {}, "registry.example/t/node:1": 3, "./x": { v: 1 }, "../../x": "1" } },
      [
        "1:26 warning features.git: is a short form, whose meaning depends on where it is used; in full it is REGISTRY/NAMESPACE/ID[:VERSION]",
        '1:35 error features["a/b"]: must be REGISTRY/NAMESPACE/ID[:VERSION], an https address or a folder such as ./tools',
        '1:72 error features["registry.example/t/node:1"]: is 3: must be an object of options, or a version as a string',
        '1:85 error features["./x"].v: is 1: must be a string, true or false',
        '1:88 warning features["../../x"]: lies in x: a local feature must lie in a folder below .devcontainer',
      ],
    ],
    [
      { image: "x-${devcontainerId}", postCreateCommand: "echo ${containerEnv:HOME} ${localenv:A} ${HOME}" },
      [
        "1:10 warning image: holds ${devcontainerId}: it may not stand in image, since an image must not depend on who uses it",
        "1:52 warning postCreateCommand: holds ${containerEnv:HOME}: containerEnv may stand in remoteEnv only, since nothing else is read once the machine runs",
        "1:52 warning postCreateCommand: holds ${localenv:A}, which is left as it is; did you mean ${localEnv}?",
      ],
    ],
    ['{"image": "x", "image": "y"}', ["1:16 warning image: is given twice: only the last one counts"]],
    [`{"image": ${"[".repeat(1000)}`, ["1:110 error : is nested too deeply: must be at most 100 levels"]],
    [" ".repeat(1024 * 1024 + 1), ["1:1 error : is 1048577 characters long: must be at most 1048576"]],
    [
      { image: "x", customizations: { dormouse: { prebuild: { trigger: ["pus", { cron: "daily" }], ttl: "soon" } } } },
      [
        '1:67 error customizations.dormouse.prebuild.trigger[0]: is "pus": must be one of "push", "pr"; did you mean "push"?',
        '1:81 error customizations.dormouse.prebuild.trigger[1].cron: is "daily": must be five fields with blanks between them, such as "0 3 * * 1"',
        '1:97 error customizations.dormouse.prebuild.ttl: is "soon": must be a time such as "45s", "90m", "1h30m" or "14d"',
      ],
    ],
    [
      { image: "x", customizations: { exai: { ports: { "99999": { visibility: "org" }, web: {} }, dotfile: {} } } },
      [
        '1:49 error customizations.exai.ports["99999"]: must be named by a port from 1 to 65535',
        '1:71 error customizations.exai.ports["99999"].visibility: is "org": must be one of "private", "organisation", "public"',
        "1:78 error customizations.exai.ports.web: must be named by the number of a port",
        "1:88 warning customizations.exai.dotfile: is no property of customizations.exai; did you mean dotfiles?",
      ],
    ],
  ];
  for (const [text, problems] of cases) {
    test(problems.join("; "), () => expect(shown(text)).toEqual(problems));
  }

  test("a problem carries its file and value, and errors leave no configuration", () => {
    const { config, problems } = parse({ image: 3 });
    expect(config).toBeUndefined();
    expect(problems).toEqual([
      {
        severity: "error",
        file: path,
        line: 1,
        column: 10,
        property: "image",
        value: 3,
        message: "is 3: must be a string",
      },
    ]);
    expect(parse({ image: "x", nam: "y" }).config).toEqual({ image: "x", nam: "y" });
  });

  test("a file that is wrong everywhere gives a bounded list", () => {
    const { problems } = parse({
      image: "x",
      capAdd: Array.from({ length: 5_000 }, () => 1),
      ...Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`unknown${index}`, 1])),
    });
    expect(problems.filter(({ severity }) => severity === "error")).toHaveLength(100);
    expect(problems.filter(({ severity }) => severity === "warning")).toHaveLength(100);
  });

  test.each([
    ["values of no alternative", `{"image": "x", "forwardPorts": [${"null,".repeat(200_000)}]}`],
    [
      "unknown names",
      `{"image": "x", "hostRequirements": {"gpu": {${Array.from({ length: 60_000 }, (_, index) => `"core${index}": 1`).join()}}}}`,
    ],
    ["variables", `{"image": "x", "name": "${"${localenv:A}".repeat(80_000)}"}`],
    ["lines", `{"image": 3,${"\n".repeat(1_000_000)}}`],
    ["open brackets", "[".repeat(1_000_000)],
    [
      "quotes in a mount",
      JSON.stringify({ image: "x", mounts: ['"a'.repeat(200_000), '""'.repeat(200_000), '"'.repeat(200_001)] }),
    ],
  ])("a file full of %s is done with in the time of a test", (_, text) => {
    expect(parse(text).problems.length).toBeGreaterThan(0);
  });
});

import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import composeSchema from "../schema/compose.schema.json" with { type: "json" };
import { parseEnvFile } from "./env-file.ts";
import { interpolate } from "./interpolate.ts";
import { planCompose } from "./plan.ts";
import { readComposeProject } from "./project.ts";
import { isKnownServiceProperty, parseDuration, splitWords } from "./service.ts";

/** Reads `compose.yml` in a repository of these files. */
async function read(
  files: Record<string, string>,
  { env = {}, paths = ["compose.yml"] }: { env?: Record<string, string>; paths?: string[] } = {},
) {
  const { project, problems } = await readComposeProject({ files: paths, env, read: async (path) => files[path] });
  const told = problems.map(({ file, line, column, severity, property, message }) =>
    [`${file}:${line}:${column} ${severity}`, property, message].filter(Boolean).join(" "),
  );
  return { project, problems: told };
}

async function serviceOf(text: string, name = "a", env: Record<string, string> = {}) {
  const { project, problems } = await read({ "compose.yml": text }, { env });
  return { service: project?.services.get(name), problems };
}

describe("variables", () => {
  const env = { A: "1", EMPTY: "" };
  it.each([
    ["$A ${A} $$A", "1 1 $A"],
    ["${B:-x} ${B-x} ${EMPTY:-x} ${EMPTY-x}", "x x x "],
    ["${A:+x} ${B:+x} ${EMPTY:+x} ${EMPTY+x}", "x   x"],
    ["${B:-${C:-${A}}}-${B:-{a}}", "1-{a}"],
    ["${A:?must} ${A?must}", "1 1"],
    ["no variable", "no variable"],
  ])("%s", (text, expected) => {
    const report = { onUnset() {}, onError: (_: unknown, message: string) => expect.fail(message) };
    expect(interpolate([text], env, report)).toEqual([expected]);
  });

  it("are told where they are missing or wrong", async () => {
    const text = "services:\n  a:\n    image: x:$TAG\n    hostname: ${H:?who} \n    user: a$\n";
    expect((await read({ "compose.yml": text })).problems).toEqual([
      "compose.yml:3:12 warning services.a.image names the variable TAG, which is not set: it counts as empty",
      "compose.yml:4:15 error services.a.hostname needs the variable H: who",
      'compose.yml:5:11 error services.a.user has a $ that begins no variable in "a$": a dollar sign is written $$',
    ]);
  });

  it("come from .env beside the file, under what the workspace has", async () => {
    const files = {
      "docker/compose.yml": "services: {a: {image: '$ONE-$TWO-$COMPOSE_PROJECT_NAME'}}",
      "docker/.env": "ONE=1\nTWO=2\n",
    };
    const { project } = await read(files, { env: { TWO: "two" }, paths: ["docker/compose.yml"] });
    expect(project?.services.get("a")?.image).toBe("1-two-docker");
  });
});

test("a file of environment", () => {
  const text = `# a comment
export A=1
B: two words # a comment
C='$A # as it is'
D="a\\nb \${A}"
E=$A#kept
OUTER
MISSING
F=
G="over
lines"
`;
  const replace = (value: string, env: Record<string, string>) =>
    String(interpolate(value, env, { onUnset() {}, onError() {} }));
  expect(parseEnvFile(text, { outer: { OUTER: "o" }, replace })).toEqual({
    ...{ A: "1", B: "two words", C: "$A # as it is", D: "a\nb 1", E: "1#kept", OUTER: "o", F: "" },
    G: "over\nlines",
  });
});

describe("short forms", () => {
  it("of ports", async () => {
    const text = `services:
  a:
    image: x
    ports: ["80", 81, "8080:80", "127.0.0.1:5000:5000/udp", "9000-9001:90-91", "[::1]:70:7"]
`;
    const { service } = await serviceOf(text);
    const port = (target: number, published: number | null, hostIp: string | null = null, protocol = "tcp") => ({
      ...{ target, published, hostIp, protocol },
    });
    expect(service?.ports).toEqual([
      ...[port(80, null), port(81, null), port(80, 8080), port(5000, 5000, "127.0.0.1", "udp")],
      ...[port(90, 9000), port(91, 9001), port(7, 70, "::1")],
    ]);
  });

  it("of volumes", async () => {
    const text = `services:
  a:
    image: x
    volumes:
      - data:/data
      - ./src:/src:ro
      - ../shared:/shared
      - /anonymous
      - {type: bind, source: conf, target: /conf, read_only: true}
      - {type: tmpfs, target: /run}
      - /var/run/docker.sock:/var/run/docker.sock
volumes: {data: }
`;
    const { project, problems } = await read({ "sub/compose.yml": text }, { paths: ["sub/compose.yml"] });
    const mount = (type: string, source: string | null, target: string, readOnly = false) => ({
      ...{ type, source, target, readOnly },
    });
    expect(project?.services.get("a")?.mounts).toEqual([
      ...[mount("volume", "data", "/data"), mount("bind", "sub/src", "/src", true)],
      ...[mount("bind", "shared", "/shared"), mount("volume", null, "/anonymous")],
      ...[mount("bind", "sub/conf", "/conf", true), mount("tmpfs", null, "/run")],
    ]);
    expect(problems).toEqual([
      "sub/compose.yml:4:5 warning services.a.volumes nothing is mounted at /var/run/docker.sock: /var/run/docker.sock is of another machine",
    ]);
  });

  it("of commands, checks, builds and all the rest", async () => {
    const text = `services:
  a:
    build: {context: ., args: [A=1, FROM_ENV, UNSET]}
    command: sh -c "echo 'a b'" it\\'s
    entrypoint: []
    environment: [A=1, B=, FROM_ENV, UNSET]
    depends_on: [b]
    healthcheck: {test: curl localhost, interval: 1m30s, retries: 5}
    extra_hosts: ["h:1.2.3.4", "i=::1"]
    networks: {front: {aliases: [web]}, back: }
    shm_size: 64mb
    stop_grace_period: 1500ms
    ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}
    cap_add: [SYS_PTRACE]
    init: true
    tmpfs: /tmp
    restart: unless-stopped
  b: {build: ./b, network_mode: "service:a", tty: true}
networks: {front: , back: }
`;
    const { service, problems } = await serviceOf(text, "a", { FROM_ENV: "e" });
    expect(problems).toEqual([]);
    expect(service).toMatchObject({
      build: { context: ".", dockerfile: "Dockerfile", args: { A: "1", FROM_ENV: "e" }, inline: null },
      ...{ command: ["sh", "-c", "echo 'a b'", "it's"], entrypoint: [], environment: { A: "1", B: "", FROM_ENV: "e" } },
      dependsOn: [{ service: "b", condition: "service_started", required: true }],
      healthcheck: { test: ["CMD-SHELL", "curl localhost"], intervalMs: 90_000, timeoutMs: 30_000, retries: 5 },
      ...{ extraHosts: ["h:1.2.3.4", "i:::1"], aliases: ["web"], restart: "unless-stopped" },
      options: [
        ...["--cap-add=SYS_PTRACE", "--tmpfs=/tmp", "--ulimit=nofile=1:2", "--ulimit=nproc=3:3", "--init"],
        ...["--shm-size=64m", "--stop-timeout=2"],
      ],
    });
  });

  test("words of a command", () => {
    expect(splitWords(`a "b c" 'd "e"' f\\ g "h\\"i"j`)).toEqual(["a", "b c", 'd "e"', "f g", 'h"ij']);
    expect(splitWords("")).toEqual([]);
  });

  test("times", () => {
    expect(["90s", "1m30s", "1.5s", "200us", "1h", "soon", ""].map(parseDuration)).toEqual([
      ...[90_000, 90_000, 1500, 0.2, 3_600_000, undefined, undefined],
    ]);
  });
});

describe("several files", () => {
  const base = `services:
  a:
    image: one
    command: [first, command]
    environment: [A=1, B=2]
    ports: ["80:80", "81:81"]
    volumes: [data:/data, ./src:/src]
    cap_add: [A, B]
    depends_on: [b]
  b: {image: b}
`;
  it("are merged by Compose's rules", async () => {
    const over = `services:
  a:
    image: two
    command: second
    environment: {B: "3", C: x}
    ports: ["80:80", "82:82"]
    volumes: [other:/data]
    cap_add: [B, C]
    depends_on: {b: {condition: service_healthy}}
`;
    const { project, problems } = await read(
      { "compose.yml": base, "sub/over.yml": over },
      { paths: ["compose.yml", "sub/over.yml"] },
    );
    expect(problems).toEqual([]);
    const a = project?.services.get("a");
    expect(a).toMatchObject({
      ...{ image: "two", command: ["second"], environment: { A: "1", B: "3", C: "x" } },
      dependsOn: [{ service: "b", condition: "service_healthy", required: true }],
      options: ["--cap-add=A", "--cap-add=B", "--cap-add=C"],
    });
    expect(a?.ports.map(({ published }) => published)).toEqual([80, 81, 82]);
    expect(a?.mounts.map(({ source, target }) => `${source}:${target}`)).toEqual(["other:/data", "src:/src"]);
  });

  it("may take back what was said, or say it anew", async () => {
    const over =
      "services:\n  a:\n    ports: !reset []\n    environment: !override {Z: '1'}\n    cap_add: !override [Z]\n";
    const { project } = await read({ "compose.yml": base, "over.yml": over }, { paths: ["compose.yml", "over.yml"] });
    const a = project?.services.get("a");
    expect(a).toMatchObject({ ports: [], environment: { Z: "1" }, options: ["--cap-add=Z"] });
  });

  it("may extend and include others, whose paths are their own", async () => {
    const files = {
      "compose.yml": `include: [inc/compose.yml]
x-common: &common
  image: common
services:
  a:
    extends: {file: ext/base.yml, service: base}
    environment: {A: own}
  c: {<<: *common, user: "1000"}
`,
      "ext/base.yml": "services: {base: {build: ., environment: {A: base, B: base}, env_file: e.env}}",
      "ext/e.env": "E=file\nB=file\n",
      "inc/compose.yml": "services: {d: {image: d, volumes: [./x:/x]}}",
    };
    const { project, problems } = await read(files);
    expect(problems).toEqual([]);
    expect(project?.services.get("a")).toMatchObject({
      build: { context: "ext" },
      environment: { E: "file", B: "base", A: "own" },
    });
    expect(project?.services.get("c")).toMatchObject({ image: "common", user: "1000" });
    expect(project?.services.get("d")?.mounts[0]?.source).toBe("inc/x");
  });
});

describe("what is wrong", () => {
  it.each<[text: string, problems: string[]]>([
    ["services:\n\ta: 1", ["compose.yml:2:1 error a tab stands where only blanks may indent"]],
    ["services: {a: {image: x}, a: {}}", ["compose.yml:1:27 error this name is given twice in one mapping"]],
    ["- a", ["compose.yml:1:1 error is a list: must be an object"]],
    ["services:\n  a:\n    image: [x]\n", ["compose.yml:3:12 error services.a.image is a list: must be a string"]],
    [
      "services:\n  a:\n    imge: x\n    x-own: 1\n",
      [
        "compose.yml:2:3 error services.a has neither image nor build: one of them must be there",
        "compose.yml:3:5 warning services.a.imge is no property of services.a; did you mean image?",
      ],
    ],
    [
      "services:\n  a:\n    image: x\n    deploy: {replicas: 2}\n    network_mode: odd\n    ports: [http]\n",
      [
        "compose.yml:4:5 warning services.a.deploy has no effect: services share the processors and the memory of their machine",
        'compose.yml:5:5 error services.a.network_mode is "odd": must be "host", "none", "bridge" or "service:" and a name',
        'compose.yml:6:5 error services.a.ports has "http": must be ports such as "8080:80"',
      ],
    ],
    [
      "services:\n  a: {image: x, env_file: a.env}\n",
      ["compose.yml:2:17 error services.a.env_file names a.env, which is not there"],
    ],
    [
      "services:\n  a: {extends: b}\n  b: {extends: a}\n",
      [
        "compose.yml:2:16 error services.a.extends leads back to b",
        "compose.yml:3:16 error services.b.extends leads back to a",
      ],
    ],
    ["include: [compose.yml]\nservices: {}\n", ["compose.yml:1:10 error include leads back to compose.yml"]],
  ])("%j", async (text, problems) => {
    const { project, problems: told } = await read({ "compose.yml": text });
    expect(told).toEqual(problems);
    expect(project === undefined).toBe(problems.some((problem) => problem.includes(" error ")));
  });

  it("a file that is not there", async () => {
    expect((await read({})).problems).toEqual(["compose.yml:1:1 error is not there"]);
  });

  it("never throws, whatever stands there", async () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json().map((json) => `services: {a: ${json}}`),
      fc
        .array(
          fc.constantFrom("a: ", "- ", "{", "[", "]", "}", "\n", "  ", "&x ", "*x", "<<: ", "!reset ", "${", '"'),
          {
            maxLength: 60,
          },
        )
        .map((parts) => parts.join("")),
    );
    await fc.assert(
      fc.asyncProperty(text, async (written) => {
        const { problems } = await readComposeProject({
          ...{ files: ["c.yml"], env: {} },
          read: async (path) => (path === "c.yml" ? written : undefined),
        });
        for (const { line, column } of problems) expect(line > 0 && column > 0).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test("a file of brackets or of anchors of anchors has its end", async () => {
    expect((await read({ "compose.yml": "[".repeat(200_000) })).problems).toHaveLength(1);
    const bomb = ["a: &a [x,x,x,x,x,x,x,x,x,x]"];
    for (const [at, name] of [..."bcdefgh"].entries())
      bomb.push(`${name}: &${name} [${`*${"abcdefg"[at]},`.repeat(9)}]`);
    expect((await read({ "compose.yml": bomb.join("\n") })).problems).toEqual([
      "compose.yml:1:1 error names anchors that are not there, or far too often",
    ]);
  });
});

test("every property of a service in the schema is known", () => {
  const names = Object.keys(composeSchema.definitions.service.properties);
  expect(names.filter((name) => !isKnownServiceProperty(name))).toEqual([]);
});

describe("the plan", () => {
  const plan = async (text: string, options: { service?: string; runServices?: string[] } = {}) => {
    const { project, problems } = await read({ "compose.yml": text });
    if (!project) throw new Error(problems.join("\n"));
    return planCompose(project, { service: "app", ...options });
  };
  const networks = ({ services }: Awaited<ReturnType<typeof plan>>) =>
    services.map(({ name, network }) =>
      [name, network.kind, "address" in network ? network.address : "service" in network ? network.service : ""]
        .join(" ")
        .trim(),
    );

  it("starts what others need before them", async () => {
    const text = `services:
  web: {image: x, depends_on: [app, api]}
  api: {image: x, depends_on: {db: {condition: service_healthy}}}
  app: {image: x}
  db: {image: x}
  tools: {image: x, profiles: [tools]}
`;
    expect(networks(await plan(text))).toEqual([
      "db project 10.89.0.2",
      "api project 10.89.0.3",
      "web project 10.89.0.4",
    ]);
    expect(networks(await plan(text, { runServices: ["api"] }))).toEqual([
      "db project 10.89.0.2",
      "api project 10.89.0.3",
    ]);
    expect(networks(await plan(text, { runServices: ["tools"] }))).toEqual(["tools project 10.89.0.2"]);
    expect(networks(await plan(text, { runServices: [] }))).toEqual([]);
  });

  it("has what shares the workspace's network in the machine's own", async () => {
    const text = `services:
  app: {image: x, network_mode: "service:db"}
  db: {image: x}
  beside: {image: x, network_mode: "service:app"}
  cache: {image: x}
  metrics: {image: x, network_mode: "service:cache"}
  alone: {image: x, network_mode: none}
  host: {image: x, network_mode: host}
`;
    expect(networks(await plan(text))).toEqual([
      ...[
        "db machine",
        "beside machine",
        "cache project 10.89.0.2",
        "metrics shared cache",
        "alone none",
        "host machine",
      ],
    ]);
  });

  it.each([
    ["services: {a: {image: x}}", {}, /^service is "app": the services are: a$/],
    ["services: {app: {image: x}}", { runServices: ["b"] }, /^runServices names "b": there is no such service$/],
    [
      "services:\n  app: {image: x}\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
      {},
      /^compose.yml:3:17: a depends on itself, by others$/,
    ],
    ["services: {app: {image: x, depends_on: [b]}}", {}, /^compose.yml:1:12: app needs b: there is no such service$/],
    [
      'services: {app: {image: x}, a: {image: x, network_mode: "service:a"}}',
      {},
      /^compose.yml:1:43: network_mode leads back to a$/,
    ],
  ])("%j is refused", async (text, options, message) => {
    await expect(plan(text, options)).rejects.toThrow(message);
  });
});

// A repository's devcontainer.json decides its workspace: image, features, users, environment, hooks; with a real registry
// on this machine and real machines.

import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pushFeature } from "../packages/image/src/testing/push.ts";
import { startRegistry, type TestRegistry } from "../packages/image/src/testing/registry.ts";
import { pushMuslImage, pushOddUserImage } from "../packages/image/src/testing/test-images.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let registry: TestRegistry;
let internet: PretendInternet;
let platform: TestPlatform;
let images: { musl: string; odd: string };

beforeAll(async () => {
  registry = await startRegistry();
  internet = await createPretendInternet();
  const context = { cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse" };
  images = {
    musl: (await pushMuslImage(registry, context)).reference,
    odd: (await pushOddUserImage(registry, context)).reference,
  };
  await pushFeature(registry, {
    id: "git",
    version: "1.3.0",
    metadata: { options: { version: { type: "string", default: "os-provided" } } },
    files: {
      "install.sh":
        '#!/bin/sh\nset -e\necho "installing git $VERSION"\nmkdir -p /opt\necho "git $VERSION" >/opt/git-version\n',
    },
  });
  await pushFeature(registry, {
    id: "node",
    version: "1.6.1",
    metadata: {
      options: { version: { type: "string", default: "lts" } },
      containerEnv: { NODE_HOME: "/opt/node", PATH: "/opt/node/bin:${PATH}" },
      installsAfter: [`${registry.address}/features/git`],
      onCreateCommand: "echo node >>/tmp/hooks",
    },
    files: {
      "install.sh":
        "#!/bin/sh\nset -e\ntest -e /opt/git-version\nmkdir -p /opt/node/bin\nprintf '#!/bin/sh\\necho v%s\\n' \"$VERSION\" >/opt/node/bin/nodeling\n" +
        'chmod 755 /opt/node/bin/nodeling\necho "$_REMOTE_USER $_REMOTE_USER_HOME" >/opt/node/user\n',
    },
  });
  platform = await startTestPlatform({
    registry: { insecure: [registry.address] },
    devcontainer: { hookTimeoutSeconds: 8, featureNamespace: `${registry.address}/features` },
  });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await registry?.stop();
});

/** Prints which words are anywhere in the files below a folder, whose holes are left out: most of a drive is one. */
const searchScript = `
import os, sys
words = [word.encode() for word in sys.argv[2:]]
found = set()
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        try:
            file = os.open(os.path.join(folder, name), os.O_RDONLY)
        except OSError:
            continue
        end, tail = 0, b""
        while True:
            try:
                start = os.lseek(file, end, os.SEEK_DATA)
                end = os.lseek(file, start, os.SEEK_HOLE)
            except OSError:
                break
            at, tail = start, b""
            while at < end:
                data = tail + os.pread(file, min(end - at, 1 << 24), at)
                at += len(data) - len(tail)
                found.update(word for word in words if word in data)
                tail = data[-64:]
        os.close(file)
print("\\n".join(sorted(word.decode() for word in found)))
`;

/** Opens a repository with this definition and what else is in it. */
async function open(name: string, definition: unknown, files: Record<string, string> = {}) {
  const text = typeof definition === "string" ? definition : JSON.stringify(definition, null, 2);
  const repository = await internet.addRepository(name, { ".devcontainer/devcontainer.json": text, ...files });
  return await openRepository(repository);
}

async function openRepository(repository: string, env?: Record<string, string>) {
  const steps: string[] = [];
  const { connection } = platform;
  const onProgress = ({ step, message }: { step: string; message: string }) => void steps.push(`${step}: ${message}`);
  return { workspace: await Workspace.create({ connection, repository, env, onProgress }), steps };
}

describe("a repository with a devcontainer.json", () => {
  it("opens with its image, features, ports and hooks, and the second time from what was built", async () => {
    const definition = {
      name: "app",
      image: images.odd,
      containerUser: "root",
      features: { node: { version: "22" }, git: {} },
      forwardPorts: [3000, 5432, 6379],
      portsAttributes: { "3000": { label: "web" }, "5432": { label: "database" } },
      containerEnv: { APP_MODE: "development", TOKEN: "${localEnv:TOKEN:none}" },
      remoteEnv: { TOOLS: "${containerEnv:NODE_HOME}/tools" },
      onCreateCommand: {
        first: "sleep 1; echo first >>/tmp/parallel",
        second: ["/bin/sh", "-c", "echo second >>/tmp/parallel"],
      },
      postCreateCommand: "echo post-create >>/tmp/hooks",
      postStartCommand: "echo post-start >>/tmp/hooks",
      postAttachCommand: "echo post-attach in $PWD >>/tmp/hooks",
      customizations: { dormouse: { ports: { "3000": { visibility: "organisation" } } } },
    };
    const { workspace, steps } = await open("app", definition, { "README.md": "# app\n" });
    await using _ = workspace;
    expect(workspace.info.devcontainer).toEqual({
      path: ".devcontainer/devcontainer.json",
      problem: null,
      attached: null,
      notes: [],
      ports: [
        { host: "localhost", port: 3000, label: "web", visibility: "organisation" },
        { host: "localhost", port: 5432, label: "database" },
        { host: "localhost", port: 6379, label: null },
      ],
      portsAttributes: definition.portsAttributes,
      otherPortsAttributes: {},
      portsVisibility: { "3000": "organisation" },
      vscode: { settings: {}, extensions: [] },
    });
    const script =
      "cat README.md /opt/node/user; nodeling; id -un; pwd; echo $APP_MODE $TOKEN $TOOLS; sort /tmp/parallel";
    const { stdout, stderr } = await workspace.exec(script);
    expect(stderr).toBe("");
    expect(stdout.split("\n")).toEqual([
      ...[
        "# app",
        "root /root",
        "v22",
        "root",
        "/workspaces/app",
        "development none /opt/node/tools",
        "first",
        "second",
        "",
      ],
    ]);
    for (const part of [
      "Asking for the image",
      "Installing the feature",
      "Keeping what was built",
      "Running onCreateCommand",
    ]) {
      expect(steps.join("\n")).toContain(part);
    }
    const hooks = async () => (await workspace.exec("cat /tmp/hooks")).stdout;
    await eventually("the hooks", async () => (await hooks()) === "node\npost-create\npost-start\n");
    await workspace.attach();
    await eventually("the tool's", async () => /post-start\npost-attach in \/workspaces\/app\n$/.test(await hooks()));

    const again = await openRepository(workspace.info.repository ?? "", { TOKEN: "mine" });
    await using second = again.workspace;
    expect(again.steps.join("\n")).not.toMatch(/Pulling|Booting|Installing/);
    expect((await second.exec("nodeling; echo $TOKEN; cat README.md")).stdout).toBe("v22\nmine\n# app\n");
  });

  it("opens on musl without bash and git, and takes the image's own metadata", async () => {
    const { workspace } = await open(
      "alpine-like",
      { image: images.musl, remoteUser: "guest" },
      { "main.c": "int x;\n" },
    );
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toBeNull();
    const { stdout } = await workspace.exec(
      "hello-musl; echo $FROM_IMAGE $GREETING; ls /tmp/created-by-image; id -un; stat -c %U main.c",
    );
    expect(stdout).toBe("hello from musl\nmusl from the image\n/tmp/created-by-image\nguest\nguest\n");
    const tools = await workspace.exec(
      "git log --format=%s; rg -n int; git -c user.name=g -c user.email=g@g commit -qam two --allow-empty && git rev-list --count HEAD",
    );
    expect(tools).toMatchObject({ stdout: "First commit\nmain.c:1:int x;\n2\n", stderr: "" });
    let text = "";
    const onData = (data: string) => {
      text += data;
    };
    const terminal = await workspace.pty.create({ cols: 80, rows: 24, onData });
    await terminal.sendInput("echo $0 in $PWD\n");
    await eventually("the shell's answer", async () => /sh in \/workspaces\/alpine-like/.test(text));
  });

  it("runs as the image's own user, and reads what its shell says", async () => {
    const dotfiles = await internet.addRepository("dotfiles", { ".oddrc": "mine\n", "README.md": "#\n" });
    const { workspace } = await open("odd", {
      image: images.odd,
      customizations: { dormouse: { dotfiles: { repository: dotfiles } } },
      postCreateCommand: "echo $FROM_PROFILE $HOME >/tmp/profile",
    });
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toBeNull();
    expect((await workspace.exec("id -u; echo $HOME; touch made; stat -c %u:%g made .")).stdout).toBe(
      "4242\n/srv/odd\n4242:4242\n4242:4242\n",
    );
    const profile = async () => (await workspace.exec("cat /tmp/profile")).stdout;
    await eventually("the hook", async () => (await profile()) === "odd /srv/odd\n");
    // Again, straight into what was built, where the folder for it is not its user's to make.
    await using second = (await openRepository(workspace.info.repository ?? "")).workspace;
    expect((await second.exec("id -un; stat -c %U . .git")).stdout).toBe("odd\nodd\nodd\n");
    await eventually("the dotfiles", async () => (await workspace.exec("cat ~/.oddrc")).stdout === "mine\n");
  });

  it("needs no image: base, with features that lie beside the file", async () => {
    const { workspace } = await open(
      "local-feature",
      { features: { "./hello": { greeting: "hi" } }, containerEnv: { PLACE: "${containerWorkspaceFolder}" } },
      {
        ".devcontainer/hello/devcontainer-feature.json": JSON.stringify({
          id: "hello",
          version: "1.0.0",
          options: { greeting: { type: "string", default: "hey" } },
        }),
        ".devcontainer/hello/install.sh": '#!/bin/sh\necho "$GREETING $_REMOTE_USER" >/etc/hello\n',
      },
    );
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toBeNull();
    expect((await workspace.exec("cat /etc/hello; id -un; echo $PLACE; git status --short")).stdout).toBe(
      "hi dev\ndev\n/workspaces/local-feature\n",
    );
  });
});

describe("a definition that cannot be applied", () => {
  const problems: [name: string, definition: unknown, problem: RegExp, place?: object][] = [
    ["no-json", '{\n  "image": "x",\n  oops\n}', /devcontainer\.json:3:3: /, { line: 3, column: 3 }],
    ["no-image", { image: "REGISTRY/nothing:1" }, /nothing:1/],
    ["no-registry", { image: "registry.invalid/app:1" }, /registry\.invalid/],
    ["own-network", { image: "127.0.0.1:1/app" }, /127\.0\.0\.1:1 is an address of this host's own network/],
    ["no-place", { workspaceFolder: "/usr" }, /workspaceFolder is "\/usr": must be a folder of its own/],
    ["no-feature", { features: { nothing: {} } }, /nothing/],
    [
      "no-user",
      { image: "MUSL", remoteUser: "nobody-here" },
      /remoteUser is "nobody-here": the image has no such user; it has root, guest/,
    ],
    ["too-large", { hostRequirements: { memory: "900gb" } }, /memory: 900 GiB/],
    [
      "bad-option",
      { features: { node: { version: true } } },
      /option version of feature node is true: must be a string/,
    ],
  ];
  let wrong: Workspace;
  beforeAll(async () => {
    wrong = (await open("wrong", {}, { "a.txt": "here\n" })).workspace;
  });
  afterAll(() => wrong?.kill());

  it.each(problems)("%s: opens on base with the reason", async (_name, definition, problem, place) => {
    const text = typeof definition === "string" ? definition : JSON.stringify(definition);
    const path = `${wrong.info.folder}/.devcontainer/devcontainer.json`;
    await wrong.files.write(path, text.replace("REGISTRY", registry.address).replace("MUSL", images.musl));
    await wrong.rebuild({ ifNeeded: true });
    expect(wrong.state).toBe("running");
    expect(wrong.info.devcontainer?.problem?.message).toMatch(problem);
    if (place) expect(wrong.info.devcontainer?.problem).toMatchObject(place);
    expect((await wrong.exec("cat a.txt; id -un")).stdout).toBe("here\ndev\n");
  });

  it("a feature or a hook that fails or hangs is told with its output, which the log keeps", async () => {
    await pushFeature(registry, {
      id: "broken",
      version: "1.0.0",
      files: { "install.sh": "#!/bin/sh\necho trying\necho no such disk >&2\nexit 3\n" },
    });
    const broken = await open("broken-feature", { features: { broken: {} } });
    await using first = broken.workspace;
    expect(first.info.devcontainer?.problem?.message).toMatch(
      /feature .*broken:latest ended with code 3: .*no such disk/,
    );
    const logs = await platform.connection.api.workspaces.logs({ workspace: first.id });
    expect(logs.setup).toMatch(/trying\n.*no such disk/);

    const hanging = await open("hanging-hook", {
      updateContentCommand: "echo waiting; sleep 600",
      postCreateCommand: "touch /tmp/never",
    });
    await using second = hanging.workspace;
    expect(second.info.devcontainer?.problem?.message).toBe(
      "updateContentCommand took longer than 8.0 s and was ended: waiting",
    );
    expect((await second.exec("pgrep -c sleep || true; ls /tmp/never")).stdout).toBe("0\n");
  });

  it("after a correction it is applied by a rebuild, and the repository is as it was", async () => {
    const { workspace } = await open(
      "corrected",
      { image: images.odd, remoteUser: "nobody-here" },
      { "a.txt": "here\n" },
    );
    await using _ = workspace;
    await workspace.exec("echo changed >>a.txt; touch ~/gone");
    await workspace.files.write(
      `${workspace.info.folder}/.devcontainer/devcontainer.json`,
      JSON.stringify({ image: images.odd }),
    );
    await workspace.rebuild();
    expect(workspace.info.devcontainer?.problem).toBeNull();
    expect((await workspace.exec("cat a.txt; id -un; ls /home/dev/gone 2>&1")).stdout).toMatch(
      /^here\nchanged\nodd\n.*No such file/,
    );
  });
});

describe("a template", () => {
  const definition = {
    onCreateCommand: "echo set up >~/set-up; echo $HISTFILE >/dev/null",
    postCreateCommand: "echo mine >~/mine",
  };

  it("is a machine that was set up once; what opened the repository is nowhere in it", async () => {
    const { connection } = platform;
    const files = { ".devcontainer.json": JSON.stringify(definition), "README.md": "canary-in-the-repository\n" };
    const repository = await internet.addRepository("private/secret-app", files);
    const script = join(await mkdtemp(join(tmpdir(), "dormouse-bake-")), "set-up.sh");
    await writeFile(script, "#!/bin/sh\nset -e\ncat README.md >/dev/null\necho script in $PWD >~/script\n");
    const withPassword = repository.replace("http://", "http://ada:lovelace@");
    const bake = ["template", "bake", "secret-app", "--from", withPassword, "--script", script];
    const first = await dormouse(platform, bake);
    expect(first, first.stderr).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("secret-app version 1 is baked"),
    });
    expect((await Workspace.list({ connection })).map(({ name }) => name)).not.toContain("secret-app");

    const beganMs = performance.now();
    await using workspace = await Workspace.create({ connection, template: "secret-app", env: { MINE: "1" } });
    process.stderr.write(`created from a template in ${Math.round(performance.now() - beganMs)} ms\n`);
    expect(workspace.info).toMatchObject({ template: "secret-app", repository, name: "secret-app" });
    const seen = "cat README.md ~/set-up ~/script; echo $MINE; git status --short; git remote get-url origin";
    expect((await workspace.exec(seen)).stdout).toBe(
      `canary-in-the-repository\nset up\nscript in /workspaces/secret-app\n1\n${repository}\n`,
    );
    await eventually("the command of one's own", async () => (await workspace.exec("cat ~/mine")).stdout === "mine\n");

    // Every byte of what it started from: its memory, its devices, its drive.
    const machines = join(platform.dataDir, "data/machines");
    const { stdout: found } = await run(
      "python3",
      ["-c", searchScript, machines, "canary-in-the-repository", "lovelace"],
      {
        timeoutMs: 120_000,
      },
    );
    expect(new Set(found.trim().split("\n"))).toEqual(new Set(["canary-in-the-repository"]));

    expect(await dormouse(platform, ["template", "delete", "secret-app"])).toMatchObject({ exitCode: 0 });
    await expect(Workspace.create({ connection, template: "secret-app" })).rejects.toThrow(
      'template: there is no template "secret-app"; the templates are: base',
    );
  });

  it("is not made of what may hold secrets, nor of what has a person's own set-up, nor of what is not there", async () => {
    const { connection } = platform;
    const dotfiles = await internet.addRepository("own-dotfiles", {
      ".config/app/own": "mine\n",
      ".profile-of-mine": "",
    });
    const mine = ["--dotfiles", dotfiles, "--shell", "sh", "--git-name", "Ada", "--git-email", "ada@example.com"];
    expect(await dormouse(platform, ["me", "set", ...mine])).toMatchObject({ exitCode: 0 });
    await using personal = await Workspace.create({ connection });
    expect(await dormouse(platform, ["me", "unset", "dotfiles", "shell", "git-name", "git-email"])).toMatchObject({
      exitCode: 0,
    });
    const seen = "cat ~/.config/app/own; git config user.name; git config user.email; getent passwd dev | cut -d: -f7";
    await eventually("the set-up", async () => {
      const { stdout } = await personal.exec(seen);
      return /^mine\nAda\nada@example.com\n\S*\/sh\n$/.test(stdout);
    });
    await expect(personal.bake("leaky")).rejects.toThrow(/has your personal set-up in it/);
    await using workspace = await Workspace.create({ connection, env: { TOKEN: "secret" } });
    await expect(workspace.bake("leaky")).rejects.toThrow(
      /created with an environment \(TOKEN\), which may hold secrets/,
    );
    await expect(workspace.bake("base")).rejects.toThrow(/name is base/);
    await expect(workspace.bake("No Name")).rejects.toThrow(/name: a name has small letters/);
    expect((await workspace.exec("echo $TOKEN")).stdout).toBe("secret\n");
  });
});

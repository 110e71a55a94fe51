// What `devcontainer.test.ts` leaves out for its time.

import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { describe, expect, it } from "vitest";
import { pushFeature } from "../packages/image/src/testing/push.ts";
import { useDevcontainers } from "./support/devcontainer-suite.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { search } from "./support/search-marks.ts";

const suite = useDevcontainers();
const { open, openRepository } = suite;

describe("a repository with a devcontainer.json", () => {
  it("runs as the image's own user, and reads what its shell says", async () => {
    const dotfiles = await suite.internet.addRepository("dotfiles", { ".oddrc": "mine\n", "README.md": "#\n" });
    const { workspace } = await open("odd", {
      image: suite.images.odd,
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

  it("opens on musl without bash and git, and takes the image's own metadata", async () => {
    const { workspace } = await open(
      "alpine-like",
      { image: suite.images.musl, remoteUser: "guest" },
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
  it("a feature or a hook that fails or hangs is told with its output, which the log keeps", async () => {
    await pushFeature(suite.registry, {
      id: "broken",
      version: "1.0.0",
      files: { "install.sh": "#!/bin/sh\necho trying\necho no such disk >&2\nexit 3\n" },
    });
    const broken = await open("broken-feature", { features: { broken: {} } });
    await using first = broken.workspace;
    expect(first.info.devcontainer?.problem?.message).toMatch(
      /feature .*broken:latest ended with code 3: .*no such disk/,
    );
    const logs = await suite.platform.connection.api.workspaces.logs({ workspace: first.id });
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
});

describe("a template", () => {
  const definition = {
    onCreateCommand: "echo set up >~/set-up; echo $HISTFILE >/dev/null",
    postCreateCommand: "echo mine >~/mine",
  };

  it("is a machine that was set up once; what opened the repository is nowhere in it", async () => {
    const { connection } = suite.platform;
    const files = { ".devcontainer.json": JSON.stringify(definition), "README.md": "canary-in-the-repository\n" };
    const repository = await suite.internet.addRepository("private/secret-app", files);
    const script = join(await mkdtemp(join(tmpdir(), "dormouse-bake-")), "set-up.sh");
    await writeFile(script, "#!/bin/sh\nset -e\ncat README.md >/dev/null\necho script in $PWD >~/script\n");
    const withPassword = repository.replace("http://", "http://ada:lovelace@");
    const bake = ["template", "bake", "secret-app", "--from", withPassword, "--script", script];
    const first = await dormouse(suite.platform, bake);
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
    const machines = join(suite.platform.dataDir, "data/machines");
    const words = "canary-in-the-repository,lovelace";
    const { stdout: found } = await run("python3", ["-c", search, words, machines], { timeoutMs: 120_000 });
    expect(new Set(found.split("\n").flatMap((hit) => hit.split(" ")[0] || []))).toEqual(
      new Set(["canary-in-the-repository"]),
    );

    expect(await dormouse(suite.platform, ["template", "delete", "secret-app"])).toMatchObject({ exitCode: 0 });
    await expect(Workspace.create({ connection, template: "secret-app" })).rejects.toThrow(
      'template: there is no template "secret-app"; the templates are: base',
    );
  });
});

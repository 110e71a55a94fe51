// A repository's devcontainer.json decides its workspace: image, features, users, environment, hooks; with a real registry
// on this machine and real machines.

import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { useDevcontainers } from "./support/devcontainer-suite.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";

const suite = useDevcontainers();
const { open, openRepository } = suite;

describe("a repository with a devcontainer.json", () => {
  it("opens with its image, features, ports and hooks, and the second time from what was built", async () => {
    const definition = {
      name: "app",
      image: suite.images.odd,
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
    await wrong.files.write(path, text.replace("REGISTRY", suite.registry.address).replace("MUSL", suite.images.musl));
    await wrong.rebuild({ ifNeeded: true });
    expect(wrong.state).toBe("running");
    expect(wrong.info.devcontainer?.problem?.message).toMatch(problem);
    if (place) expect(wrong.info.devcontainer?.problem).toMatchObject(place);
    expect((await wrong.exec("cat a.txt; id -un")).stdout).toBe("here\ndev\n");
  });

  it("after a correction it is applied by a rebuild, and the repository is as it was", async () => {
    const { workspace } = await open(
      "corrected",
      { image: suite.images.odd, remoteUser: "nobody-here" },
      { "a.txt": "here\n" },
    );
    await using _ = workspace;
    await workspace.exec("echo changed >>a.txt; touch ~/gone");
    await workspace.files.write(
      `${workspace.info.folder}/.devcontainer/devcontainer.json`,
      JSON.stringify({ image: suite.images.odd }),
    );
    await workspace.rebuild();
    expect(workspace.info.devcontainer?.problem).toBeNull();
    expect((await workspace.exec("cat a.txt; id -un; ls /home/dev/gone 2>&1")).stdout).toMatch(
      /^here\nchanged\nodd\n.*No such file/,
    );
  });
});

describe("a template", () => {
  const _definition = {
    onCreateCommand: "echo set up >~/set-up; echo $HISTFILE >/dev/null",
    postCreateCommand: "echo mine >~/mine",
  };

  it("is not made of what may hold secrets, nor of what has a person's own set-up, nor of what is not there", async () => {
    const { connection } = suite.platform;
    const dotfiles = await suite.internet.addRepository("own-dotfiles", {
      ".config/app/own": "mine\n",
      ".profile-of-mine": "",
    });
    const mine = ["--dotfiles", dotfiles, "--shell", "sh", "--git-name", "Ada", "--git-email", "ada@example.com"];
    expect(await dormouse(suite.platform, ["me", "set", ...mine])).toMatchObject({ exitCode: 0 });
    await using personal = await Workspace.create({ connection });
    expect(await dormouse(suite.platform, ["me", "unset", "dotfiles", "shell", "git-name", "git-email"])).toMatchObject(
      {
        exitCode: 0,
      },
    );
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

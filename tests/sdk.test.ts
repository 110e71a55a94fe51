import { createHash } from "node:crypto";
import { DormouseError } from "@dormouse/base";
import { Connection, Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort, type LocalMachine, startLocalMachine } from "./support/local-machine.ts";

let machine: LocalMachine;
let connection: Connection;

beforeAll(async () => {
  machine = await startLocalMachine();
  connection = new Connection({ url: machine.url, apiKey: machine.apiKey });
});
afterAll(() => machine[Symbol.asyncDispose]());

async function errorOf(work: Promise<unknown>): Promise<DormouseError> {
  const caught = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(caught).toBeInstanceOf(DormouseError);
  return caught as DormouseError;
}

describe("a workspace", () => {
  test("is created, found, listed, and deleted at the end of its block", async () => {
    let id: string;
    {
      await using workspace = await Workspace.create({ connection, ttlSeconds: 3600 });
      id = workspace.id;
      expect(workspace.state).toBe("running");
      expect(workspace.expiresAt?.getTime()).toBeGreaterThan(Date.now());
      const again = await Workspace.connect(workspace.name, { connection });
      expect(again.id).toBe(id);
      expect((await Workspace.list({ connection })).map((info) => info.id)).toContain(id);
      await workspace.hibernate();
      expect(workspace.state).toBe("hibernated");
      expect((await workspace.wake()).state).toBe("running");
      expect((await workspace.setTtl(null)).expiresAt).toBeNull();
    }
    expect(machine.workspaces.has(id)).toBe(false);
    expect((await errorOf(Workspace.connect(id, { connection }))).code).toBe("not_found");
  });

  test("takes one request to create and one for its first command", async () => {
    const before = machine.requests.length;
    await using workspace = await Workspace.create({ connection });
    expect((await workspace.exec("true")).exitCode).toBe(0);
    expect(machine.requests.slice(before)).toEqual([
      "POST /api/workspaces",
      `POST /api/workspaces/${workspace.id}/guest/rpc/exec/run`,
    ]);
  });

  test("that fails while it is watched is deleted, and says why", async () => {
    const steps: string[] = [];
    const onProgress = ({ message }: { message: string }) => steps.push(message);
    const error = await errorOf(Workspace.create({ connection, template: "broken", onProgress }));
    expect(error.message).toBe("the machine did not answer");
    expect(steps).toEqual(["Restoring the machine"]);
    expect(machine.workspaces.size).toBe(0);
  });

  test("that is given up while it is made is deleted", async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const error = await errorOf(
      Workspace.create({ connection, template: "stuck", onProgress, signal: controller.signal }),
    );
    expect(error.code).toBe("cancelled");
    expect(machine.workspaces.size).toBe(0);
  });

  test("errors of the platform keep code and message; a wrong key and a dead address are told apart", async () => {
    const missing = await errorOf(Workspace.create({ connection, template: "missing" }));
    expect(missing).toMatchObject({ code: "not_found", message: "template is missing: there are base" });
    const wrongKey = new Connection({ url: machine.url, apiKey: "wrong" });
    expect((await errorOf(Workspace.list({ connection: wrongKey }))).code).toBe("unauthenticated");
    const nowhere = new Connection({ url: "http://127.0.0.1:9", apiKey: "x" });
    const dead = await errorOf(Workspace.list({ connection: nowhere }));
    expect(dead.code).toBe("unavailable");
    expect(dead.message).toContain("127.0.0.1:9");
    expect(() => new Connection({ url: "localhost:7070", apiKey: "x" })).toThrow("http://127.0.0.1:7070");
  });
});

describe("exec", () => {
  test("answers exit code, both outputs and takes cwd, env and stdin; failing is a result", async () => {
    await using workspace = await Workspace.create({ connection });
    const result = await workspace.exec('cat; echo "$GREETING from $PWD"; echo oops >&2; exit 3', {
      cwd: "/usr",
      env: { GREETING: "hello" },
      stdin: "typed ",
    });
    expect(result).toMatchObject({ exitCode: 3, stdout: "typed hello from /usr\n", stderr: "oops\n", timedOut: false });
    expect((await workspace.exec(["printf", "%s|", "a b", "$HOME"])).stdout).toBe("a b|$HOME|");
  });

  test("a time-out is a result and ends the command", async () => {
    await using workspace = await Workspace.create({ connection });
    const result = await workspace.exec("sleep 600", { timeoutMs: 100 });
    expect(result.timedOut).toBe(true);
    expect(result.exitCode).not.toBe(0);
  });

  test("streams output as it comes, characters whole, and keeps it for the result", async () => {
    await using workspace = await Workspace.create({ connection });
    const pieces: string[] = [];
    // The two bytes of é come a moment apart.
    const result = await workspace.exec("printf 'caf\\303'; sleep 0.2; printf '\\251\\n'; echo err >&2", {
      onStdout: (text) => void pieces.push(text),
      onStderr: (text) => void pieces.push(`[${text}]`),
    });
    expect(result).toMatchObject({ exitCode: 0, stdout: "café\n", stderr: "err\n", truncated: false });
    expect(pieces.join("")).toContain("café\n");
    expect(pieces.join("")).not.toContain("\uFFFD");
    expect(pieces.length).toBeGreaterThan(1);
  });

  test("goes on where it was after the connection was cut", async () => {
    await using workspace = await Workspace.create({ connection });
    let text = "";
    const states: string[] = [];
    const isCut = Promise.withResolvers<void>();
    const result = await workspace.exec("for i in $(seq 1 40); do echo line $i; sleep 0.05; done", {
      onStdout: async (piece) => {
        text += piece;
        if (text.includes("line 5\n") && states.length === 0) {
          states.push("cutting");
          await machine.cut(300);
          isCut.resolve();
        }
      },
      onConnection: (state) => states.push(state),
    });
    await isCut.promise;
    expect(result.exitCode).toBe(0);
    expect(text).toBe(Array.from({ length: 40 }, (_, index) => `line ${index + 1}\n`).join(""));
    expect(states).toEqual(["cutting", "lost", "back"]);
  });

  test("a background process takes input in order, signals, and is waited for", async () => {
    await using workspace = await Workspace.create({ connection });
    const cat = await workspace.exec("cat", { background: true, stdin: true });
    await Promise.all([..."abcdefgh"].map((letter) => cat.sendStdin(letter)));
    await cat.closeStdin();
    expect(await cat.wait()).toMatchObject({ exitCode: 0, stdout: "abcdefgh" });
    const sleeper = await workspace.exec("sleep 600", { background: true });
    await sleeper.kill("SIGTERM");
    expect(await sleeper.wait()).toMatchObject({ exitCode: 143, signal: "SIGTERM" });
  });

  test("aborting ends the command in the machine", async () => {
    await using workspace = await Workspace.create({ connection });
    const marker = `dormouse-${process.pid}-${Date.now()}`;
    const controller = new AbortController();
    const running = workspace.exec(`exec -a ${marker} sleep 600 & echo started; wait`, {
      signal: controller.signal,
      onStdout: () => controller.abort(),
    });
    expect((await errorOf(running)).code).toBe("cancelled");
    const { stdout } = await workspace.exec(
      `for i in $(seq 50); do pgrep -f '^${marker}' || break; sleep 0.1; done; pgrep -cf '^${marker}'`,
    );
    expect(stdout.trim().split("\n").at(-1)).toBe("0");
  });
});

describe("terminals", () => {
  test("print what is typed into them, know their size, and show their scrollback to who comes later", async () => {
    await using workspace = await Workspace.create({ connection });
    let screen = "";
    const seen = Promise.withResolvers<void>();
    const terminal = await workspace.pty.create({
      cols: 97,
      rows: 31,
      command: ["sh"],
      onData: (data) => {
        screen += data;
        if (/31 97\s/.test(screen)) seen.resolve();
      },
    });
    await terminal.sendInput("stty size\r");
    await seen.promise;
    expect((await workspace.pty.list()).map(({ id }) => id)).toContain(terminal.id);
    const replay = Promise.withResolvers<void>();
    const late = workspace.pty.attach(terminal.id, { onData: (data) => data.includes("31 97") && replay.resolve() });
    await replay.promise;
    await terminal.sendInput("exit 7\r");
    expect((await terminal.wait()).exitCode).toBe(7);
    expect((await late.wait()).exitCode).toBe(7);
  });
});

describe("files", () => {
  test("are written, read, listed, renamed, copied and removed", async () => {
    await using workspace = await Workspace.create({ connection });
    const folder = `${machine.folder}/files`;
    const entry = await workspace.files.write(`${folder}/deep/run.sh`, "echo größer\n", { mode: 0o755 });
    expect(entry).toMatchObject({ type: "file", name: "run.sh", size: 14 });
    expect((await workspace.exec(`${folder}/deep/run.sh`)).stdout).toBe("größer\n");
    expect(await workspace.files.readText(`${folder}/deep/run.sh`)).toBe("echo größer\n");
    await workspace.files.makeDirectory(`${folder}/a/b`);
    await workspace.files.rename(`${folder}/deep/run.sh`, `${folder}/a/run.sh`);
    await workspace.files.copy(`${folder}/a/run.sh`, `${folder}/a/b/copy.sh`);
    expect((await workspace.files.list(`${folder}/a`)).map(({ name }) => name).sort()).toEqual(["b", "run.sh"]);
    expect(await workspace.files.exists(`${folder}/a/b/copy.sh`)).toBe(true);
    await workspace.files.remove(`${folder}/a`, { recursive: true });
    expect(await workspace.files.exists(`${folder}/a`)).toBe(false);
    expect((await errorOf(workspace.files.read(`${folder}/gone`))).code).toBe("not_found");
  });

  test("refuse to overwrite what must not be, or what changed meanwhile", async () => {
    await using workspace = await Workspace.create({ connection });
    const path = `${machine.folder}/guarded`;
    const first = await workspace.files.write(path, "one");
    expect((await errorOf(workspace.files.write(path, "two", { overwrite: false }))).code).toBe("already_exists");
    await workspace.files.write(path, "three", { ifEtag: first.etag });
    expect((await errorOf(workspace.files.write(path, "four", { ifEtag: first.etag }))).code).toBe("aborted");
    expect(await workspace.files.readText(path)).toBe("three");
  });

  test("of any size stream both ways, byte for byte", async () => {
    await using workspace = await Workspace.create({ connection });
    const path = `${machine.folder}/big`;
    const pieceBytes = 1024 * 1024;
    const pieceCount = 64;
    const sent = createHash("sha256");
    async function* pieces() {
      for (let number = 0; number < pieceCount; number++) {
        const piece = new Uint8Array(pieceBytes).fill(number);
        sent.update(piece);
        yield piece;
      }
    }
    const entry = await workspace.files.writeStream(path, pieces());
    expect(entry.size).toBe(pieceBytes * pieceCount);
    const received = createHash("sha256");
    for await (const chunk of await workspace.files.readStream(path)) received.update(chunk);
    expect(received.digest("hex")).toBe(sent.digest("hex"));
  });

  test("are watched", async () => {
    await using workspace = await Workspace.create({ connection });
    const folder = `${machine.folder}/watched`;
    await workspace.files.makeDirectory(folder);
    const seen = Promise.withResolvers<string>();
    const watcher = await workspace.files.watch(folder, (changes) => {
      const created = changes.find(({ path }) => path.endsWith("/new"));
      if (created) seen.resolve(created.type);
    });
    await workspace.files.write(`${folder}/new`, "x");
    expect(await seen.promise).toBe("created");
    watcher.stop();
  });
});

describe("git and ports", () => {
  test("a repository is cloned with progress, changed, staged, committed, and looked at", async () => {
    await using workspace = await Workspace.create({ connection });
    const origin = `${machine.folder}/origin.git`;
    const cwd = `${machine.folder}/clone`;
    const made = await workspace.exec(
      `git init -q --bare -b main ${origin} && git clone -q ${origin} seed && cd seed && git config user.name A && git config user.email a@b.c && echo 1 > f && git add . && git commit -qm first && git push -q origin HEAD:main`,
      { cwd: machine.folder },
    );
    expect(made.exitCode, made.stderr).toBe(0);
    await workspace.git.clone(origin, cwd);
    await workspace.exec("git config user.name Ada; git config user.email ada@example.com; echo 2 > f; echo 3 > g", {
      cwd,
    });
    expect(await workspace.git.diff(cwd)).toContain("+2");
    await workspace.git.stage(cwd, ["f"]);
    const status = await workspace.git.status(cwd);
    expect(status.branch).toBe("main");
    expect(status.files.map(({ path, index }) => [path, index]).sort()).toEqual([
      ["f", "M"],
      ["g", "?"],
    ]);
    const hash = await workspace.git.commit(cwd, "second");
    expect((await workspace.git.log(cwd)).map(({ subject }) => subject)).toEqual(["second", "first"]);
    expect((await workspace.git.status(cwd)).head).toBe(hash);
    await workspace.git.checkout(cwd, "topic", { create: true });
    expect((await workspace.git.branches(cwd)).map(({ name }) => name)).toContain("topic");
    const refused = await errorOf(workspace.git.clone(`${machine.folder}/nowhere.git`, `${machine.folder}/x`));
    expect(refused.details.reason).toBe("repository_not_found");
  });

  test("a port that opens is waited for; one that stays closed is named", async () => {
    await using workspace = await Workspace.create({ connection });
    const port = await freePort();
    const server = await workspace.exec(["python3", "-m", "http.server", "--bind", "127.0.0.1", String(port)], {
      background: true,
    });
    expect(await workspace.ports.waitFor(port)).toMatchObject({ port });
    await server.kill();
    await server.wait();
    const error = await errorOf(workspace.ports.waitFor(port, { timeoutMs: 300 }));
    expect(error).toMatchObject({
      code: "deadline_exceeded",
      message: `nothing listened on port ${port} within 300 ms`,
    });
  });
});

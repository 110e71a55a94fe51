import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DormouseError, disposer, withTimeout } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** Who may read and write a registry. */
export interface RegistryUser {
  name: string;
  password: string;
}

/** A real registry for tests, on a loopback address without TLS. */
export interface TestRegistry extends AsyncDisposable {
  /** host:port */
  address: string;
  /** For requests by hand, and {@link writeAuthFile}. */
  user?: RegistryUser;
  /** Where it keeps its blobs: `docker/registry/v2/blobs/sha256/ab/abc…/data`. */
  storage: string;
  /** It dies at once, as a process does that is killed. */
  kill(): Promise<void>;
  /** It comes back after {@link kill}, with the same address and contents. */
  start(): Promise<void>;
  /** It goes, with everything in it. */
  stop(): Promise<void>;
}

/**
 * Starts Debian's `docker-registry` with a storage of its own.
 * @param options.auth without it everybody may read and write.
 */
export async function startRegistry(options: { auth?: RegistryUser } = {}): Promise<TestRegistry> {
  await using undo = disposer();
  const folder = await mkdtemp(join(tmpdir(), "dormouse-registry-"));
  undo.add(() => rm(folder, { recursive: true, force: true }));
  const storage = join(folder, "storage");
  if (options.auth) await writeFile(join(folder, "htpasswd"), await htpasswdLine(options.auth));
  let server = await launch(folder, 0, options.auth !== undefined);
  const port = server.port;
  undo.release();
  const kill = () => server.kill();
  const stop = async () => {
    await kill();
    await rm(folder, { recursive: true, force: true });
  };
  return {
    address: `127.0.0.1:${port}`,
    user: options.auth,
    storage,
    kill,
    start: async () => {
      server = await launch(folder, port, options.auth !== undefined);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** A Docker-style file with one registry's credentials. */
export async function writeAuthFile(path: string, address: string, user: RegistryUser): Promise<void> {
  const auth = Buffer.from(`${user.name}:${user.password}`).toString("base64");
  await writeFile(path, JSON.stringify({ auths: { [address]: { auth } } }), { mode: 0o600 });
}

async function launch(folder: string, port: number, isClosed: boolean) {
  const lines = [
    "version: 0.1",
    "log: { level: info, formatter: text, accesslog: { disabled: true } }",
    `storage: { filesystem: { rootdirectory: ${JSON.stringify(join(folder, "storage"))} } }`,
    `http: { addr: "127.0.0.1:${port}" }`,
    ...(isClosed ? [`auth: { htpasswd: { realm: test, path: ${JSON.stringify(join(folder, "htpasswd"))} } }`] : []),
  ];
  await writeFile(join(folder, "config.yml"), lines.join("\n"));
  const child = spawn("docker-registry", ["serve", join(folder, "config.yml")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  const said: string[] = [];
  const listening = new Promise<number>((resolve, reject) => {
    exited.then(() => reject(new DormouseError("internal", `docker-registry ended: ${said.join("\n")}`)), reject);
    createInterface(child.stderr).on("line", (line) => {
      if (said.length < 50) said.push(line);
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (found) resolve(Number(found));
    });
  });
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  try {
    return { kill, port: await withTimeout("starting docker-registry", 15_000, () => listening) };
  } catch (error) {
    await kill();
    throw error;
  }
}

/** Bcrypt is the only form that the registry takes; Perl, which every Debian has, can ask libcrypt for it. */
async function htpasswdLine({ name, password }: RegistryUser): Promise<string> {
  const script = 'print crypt(<STDIN>, q($2y$05$) . "dormousetestdormousete")';
  const { stdout } = await run("perl", ["-e", script], { input: password });
  return `${name}:${stdout}\n`;
}

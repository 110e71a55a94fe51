import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, chown, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, type Logger, sleep } from "@dormouse/base";
import { run, writeFileAtomic } from "@dormouse/base/node";
import pg from "pg";
import { type PostgresBinaries, postgresBinaries } from "./binaries.ts";
import { isAlive, readPostmaster } from "./postmaster.ts";
import { firstPrivateFolder } from "./reachable.ts";
import { postgresUser, type SystemUser } from "./system-user.ts";

/** How {@link startPostgres} starts its server. */
export interface PostgresOptions {
  /** Folder of the server's files, made when missing; every parent must be enterable for all accounts. */
  dataDir: string;
  /** Folder for programs that had to be copied; default `/var/cache/dormouse`. */
  cacheDir?: string;
  log: Logger;
  /** How long the server may take to accept connections, crash recovery included; default 60 s. */
  timeoutMs?: number;
}

/** A running PostgreSQL. Disposing it is {@link EmbeddedPostgres.stop}. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** Connection string with the password in it: a secret. */
  url: string;
  readonly pid: number;
  /** Ends open connections, writes everything to disk and stops the server. Idempotent. */
  stop(): Promise<void>;
}

const database = "dormouse";
const readyPollMs = 10;
/** sockaddr_un holds 107 bytes; `/.s.PGSQL.5432` is appended to the folder. */
const maxSocketFolderBytes = 107 - "/.s.PGSQL.5432".length;

/**
 * Starts the embedded PostgreSQL of `dataDir`, or takes over the one that is still
 * running there because its former owner was killed. It listens on a UNIX socket in
 * that folder only, under an account of its own, with a random password.
 *
 * The server stands in its own session and logs to a file, so that neither a Ctrl-C
 * nor the death of the process that started it takes the data down.
 * @throws DormouseError `unavailable` with the end of the server's log when it does not
 *   come up; then no process of it is left.
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, log } = options;
  const socketFolder = join(dataDir, "run");
  if (Buffer.byteLength(socketFolder) > maxSocketFolderBytes) {
    throw new DormouseError(
      "invalid_argument",
      `data folder ${dataDir} is too long for a UNIX socket: its path may have ${maxSocketFolderBytes - "/run".length} bytes`,
    );
  }
  const user = await postgresUser();
  const cluster = join(dataDir, "data");
  await makeFolder(dataDir, user, 0o711);
  await makeFolder(socketFolder, user, 0o700);
  const closed = user && (await firstPrivateFolder(dataDir));
  if (closed) {
    throw new DormouseError(
      "failed_precondition",
      `PostgreSQL's own account cannot enter ${closed}, in which its data folder ${dataDir} lies; choose another data folder or open that one (chmod o+x)`,
    );
  }
  const password = await ensurePassword(join(dataDir, "password"));
  const login = { host: socketFolder, port: 5432, user: database, password };

  let pid = await readPostmaster(cluster);
  let timeToReadyMs = performance.now();
  if (pid === undefined) {
    const binaries = await postgresBinaries({
      cacheDir: options.cacheDir ?? "/var/cache/dormouse",
      mustBeReachable: user !== undefined,
    });
    await ensureCluster({ binaries, cluster, user, password });
    timeToReadyMs = performance.now();
    pid = await spawnServer({ binaries, cluster, socketFolder, user, logFile: join(dataDir, "postgres.log") });
  } else {
    log.info("took over a running PostgreSQL", { pid });
  }
  try {
    await waitUntilReady({
      pid,
      login,
      timeoutMs: options.timeoutMs ?? 60_000,
      logFile: join(dataDir, "postgres.log"),
    });
  } catch (error) {
    await stopServer(pid);
    throw error;
  }
  log.info("PostgreSQL accepts connections", { pid, readyMs: Math.round(performance.now() - timeToReadyMs) });
  const serverPid = pid;
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= stopServer(serverPid);
    return stopped;
  };
  const url = `postgres://${database}:${password}@localhost/${database}?host=${encodeURIComponent(socketFolder)}`;
  return { url, pid, stop, [Symbol.asyncDispose]: stop };
}

type Login = { host: string; port: number; user: string; password: string };

async function makeFolder(path: string, user: SystemUser | undefined, mode: number): Promise<void> {
  await mkdir(path, { recursive: true });
  if (user) await chown(path, user.uid, user.gid);
  await chmod(path, mode);
}

async function ensurePassword(path: string): Promise<string> {
  const kept = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (kept) return kept.trim();
  const password = randomBytes(24).toString("hex");
  await writeFileAtomic(path, `${password}\n`, { mode: 0o600 });
  return password;
}

/** Makes the cluster beside its final place first: whatever was interrupted is made anew. */
async function ensureCluster(options: {
  binaries: PostgresBinaries;
  cluster: string;
  user: SystemUser | undefined;
  password: string;
}): Promise<void> {
  const { binaries, cluster, user } = options;
  if (await stat(join(cluster, "PG_VERSION")).catch(() => undefined)) return;
  const fresh = `${cluster}.new`;
  await rm(fresh, { recursive: true, force: true });
  await makeFolder(fresh, user, 0o700);
  const passwordFile = join(fresh, "..", "initdb-password");
  await writeFileAtomic(passwordFile, options.password, { mode: 0o600 });
  try {
    if (user) await chown(passwordFile, user.uid, user.gid);
    const initdb = [
      binaries.initdb,
      `--pgdata=${fresh}`,
      `--username=${database}`,
      "--auth=scram-sha-256",
      `--pwfile=${passwordFile}`,
      "--encoding=UTF8",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
      "--locale=C",
    ];
    const [command = "", ...args] = user
      ? ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", ...initdb]
      : initdb;
    await run(command, args, { cwd: "/", timeoutMs: 120_000 });
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(fresh, cluster);
}

async function spawnServer(options: {
  binaries: PostgresBinaries;
  cluster: string;
  socketFolder: string;
  user: SystemUser | undefined;
  logFile: string;
}): Promise<number> {
  const { binaries, cluster, socketFolder, user, logFile } = options;
  const settings: Record<string, string> = {
    listen_addresses: "",
    unix_socket_directories: socketFolder,
    unix_socket_permissions: "0700",
    max_connections: "50",
    shared_buffers: "32MB",
    // Worker processes for reading ahead and compiling queries cost more than they give to small queries.
    io_method: "sync",
    jit: "off",
    log_min_messages: "warning",
  };
  // One log per run: it serves to tell why a start failed, and must not grow for ever.
  const output = await open(logFile, "w", 0o600);
  try {
    const child = spawn(
      binaries.postgres,
      ["-D", cluster, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
      {
        cwd: "/",
        detached: true,
        stdio: ["ignore", output.fd, output.fd],
        env: { LC_ALL: "C", TZ: "UTC" },
        ...(user && { uid: user.uid, gid: user.gid }),
      },
    );
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    child.unref();
    if (child.pid === undefined) throw new DormouseError("internal", "PostgreSQL has no process id");
    return child.pid;
  } finally {
    await output.close();
  }
}

async function waitUntilReady(options: {
  pid: number;
  login: Login;
  timeoutMs: number;
  logFile: string;
}): Promise<void> {
  const { pid, login, timeoutMs, logFile } = options;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await ensureDatabase(login);
    } catch (error) {
      const over = performance.now() > deadlineMs;
      if (isAlive(pid) && !over && isNotReadyYet(error)) {
        await sleep(readyPollMs);
        continue;
      }
      const tail = (await readFile(logFile, "utf8").catch(() => "")).trim().slice(-2000);
      const what = isAlive(pid) ? `does not accept connections (${String(error)})` : "ended while it started";
      throw new DormouseError("unavailable", `PostgreSQL ${what}; its log ends with: ${tail}`, { cause: error });
    }
  }
}

function isNotReadyYet(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  // 57P03 cannot_connect_now: starting up or recovering. The socket appears shortly before.
  return code === "57P03" || code === "ENOENT" || code === "ECONNREFUSED";
}

async function ensureDatabase(login: Login): Promise<void> {
  try {
    const client = new pg.Client({ ...login, database });
    await client.connect();
    await client.end();
  } catch (error) {
    // 3D000 invalid_catalog_name: the cluster is new.
    if ((error as { code?: unknown }).code !== "3D000") throw error;
    const client = new pg.Client({ ...login, database: "postgres" });
    await client.connect();
    try {
      await client.query(`CREATE DATABASE ${database}`);
    } finally {
      await client.end();
    }
  }
}

async function stopServer(pid: number): Promise<void> {
  if (!isAlive(pid)) return;
  // SIGINT is PostgreSQL's "fast" shutdown: connections are ended, everything is written.
  process.kill(pid, "SIGINT");
  const deadlineMs = performance.now() + 20_000;
  while (isAlive(pid)) {
    if (performance.now() > deadlineMs) {
      // SIGQUIT is "immediate": like a crash, from which the next start recovers.
      process.kill(pid, "SIGQUIT");
      throw new DormouseError("deadline_exceeded", `PostgreSQL (pid ${pid}) did not stop within 20 s`);
    }
    await sleep(readyPollMs);
  }
}

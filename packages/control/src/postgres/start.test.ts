import { chmod, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { keepPostgresRunning } from "./keep-running.ts";
import { isAlive } from "./postmaster.ts";
import { startPostgres } from "./start.ts";

const log = createLogger({ level: "error", write: (line) => console.error(line) });
const quiet = createLogger({ level: "error", write: () => {} });
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dm-pg-"));
  await chmod(folder, 0o755);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function query(url: string, text: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

test("keeps what was committed through a kill of the server, is taken over, and stops cleanly", async () => {
  const dataDir = join(folder, "postgres");
  const first = await startPostgres({ dataDir, log });
  try {
    await query(first.url, "create table kept (n int); insert into kept values (42)");
    expect(first.url).not.toContain("127.0.0.1");
    expect((await stat(join(dataDir, "password"))).mode & 0o777).toBe(0o600);

    const again = await startPostgres({ dataDir, log });
    expect(again.pid, "a running server is taken over, not started twice").toBe(first.pid);
  } finally {
    process.kill(first.pid, "SIGKILL");
  }
  await using recovered = await startPostgres({ dataDir, log });
  expect(recovered.pid).not.toBe(first.pid);
  expect(await query(recovered.url, "select n from kept")).toEqual([{ n: 42 }]);
  await recovered.stop();
  expect(isAlive(recovered.pid)).toBe(false);
});

test("a server that was killed is started again, with what was committed and at the same address", async () => {
  await using kept = await keepPostgresRunning({ dataDir: await mkdtemp(join(folder, "kept-")), log: quiet });
  await query(kept.url, "create table kept (n int); insert into kept values (42)");
  const { pid } = kept;
  process.kill(pid, "SIGKILL");
  await vi.waitFor(async () => expect(await query(kept.url, "select n from kept")).toEqual([{ n: 42 }]), {
    timeout: 30_000,
    interval: 100,
  });
  // Its keeper hears a moment later that it accepts connections.
  await vi.waitFor(() => expect(kept.pid).not.toBe(pid), { timeout: 10_000 });
  await kept.stop();
  expect(isAlive(kept.pid)).toBe(false);
});

test("says which folder its account cannot enter", async () => {
  const closed = await mkdtemp(join(folder, "closed-"));
  await expect(startPostgres({ dataDir: join(closed, "postgres"), log })).rejects.toThrow(
    `PostgreSQL's own account cannot enter ${closed},`,
  );
});

test("names the folder when its path is too long for a socket", async () => {
  const dataDir = join(folder, "x".repeat(120));
  await expect(startPostgres({ dataDir, log })).rejects.toThrow(
    /too long for a UNIX socket: its path may have \d+ bytes/,
  );
});

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ServiceProcess } from "./service-process.ts";

let folder: string;
let log: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-service-"));
  log = join(folder, "service.log");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A part that says what happens to it, and takes as long to come up as it is told. */
async function service(options: { mustEndInOrder?: boolean } = {}): Promise<ServiceProcess> {
  const entry = join(folder, "service.mjs");
  await writeFile(
    entry,
    `process.once("message", ({ name, startMs }) => {
      console.log("started", name);
      setTimeout(() => {
        process.on("SIGTERM", () => { console.log("ended in order"); process.exit(); });
        process.send({ type: "ready", name });
        setInterval(() => {}, 60_000);
      }, startMs);
    });`,
  );
  return new ServiceProcess({ name: "part", entry, logFile: log, ...options });
}

const happened = async () => (await readFile(log, "utf8")).trim().split("\n");

async function killed(part: ServiceProcess): Promise<void> {
  const { pid } = part;
  if (pid === undefined) throw new Error("it has no process");
  process.kill(pid, "SIGKILL");
}

test("is told its configuration, also when it is started again", async () => {
  const part = await service();
  part.load();
  expect(await part.start({ name: "ada", startMs: 0 })).toEqual({ type: "ready", name: "ada" });
  const first = part.pid;
  await killed(part);
  await expect.poll(async () => (await happened()).length, { timeout: 10_000 }).toBe(2);
  expect(part.pid).not.toBe(first);
  await expect.poll(async () => happened(), { timeout: 10_000 }).toEqual(["started ada", "started ada"]);
  await part.stop();
});

test("one that ends at its start is told with its log", async () => {
  const entry = join(folder, "broken.mjs");
  await writeFile(entry, "process.exit(3);");
  const part = new ServiceProcess({ name: "part", entry, logFile: log });
  await expect(part.start({})).rejects.toThrow(`part ended at its start (3); see ${log}`);
  await part.stop();
});

test("one that holds what outlives it comes up once more to be stopped, whenever it died", async () => {
  for (const startMs of [0, 300]) {
    await rm(log, { force: true });
    const part = await service({ mustEndInOrder: true });
    await part.start({ name: "host", startMs });
    await killed(part);
    await part.stop();
    expect(await happened()).toEqual(["started host", "started host", "ended in order"]);
  }
});

test("one that holds nothing is not started again to be stopped", async () => {
  const part = await service();
  await part.start({ name: "gateway", startMs: 0 });
  await killed(part);
  await part.stop();
  expect(await happened()).toEqual(["started gateway"]);
});

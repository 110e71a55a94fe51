import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Qmp } from "./qmp.ts";

let folder: string;
let qemu: ChildProcess;
let qmp: Qmp;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-qmp-"));
  const path = join(folder, "control");
  const control = ["-qmp", `unix:${path},server=on,wait=off`];
  qemu = spawn("qemu-system-x86_64", ["-machine", "none", "-nodefaults", "-display", "none", ...control]);
  qmp = await Qmp.connect(path);
});
afterAll(async () => {
  qmp?.close();
  qemu?.kill("SIGKILL");
  await rm(folder, { recursive: true });
});

test("commands are answered, errors in QEMU's own words", async () => {
  expect((await qmp.execute("query-version")).qemu.major).toBeGreaterThanOrEqual(8);
  await expect(qmp.execute("migrate-incoming", { uri: "file:/nowhere" })).rejects.toThrow(
    /^migrate-incoming failed in the VMM: .*'-incoming' was not specified/,
  );
});

test("events come while commands are answered", async () => {
  const stopped = new Promise((resolve) => qmp.once("event", resolve));
  await qmp.execute("stop");
  expect(await stopped).toMatchObject({ event: "STOP" });
  expect(await qmp.execute("query-status")).toMatchObject({ running: false });
});

test("a VMM that is killed is noticed at once", async () => {
  const closed = new Promise<void>((resolve) => qmp.once("close", resolve));
  qemu.kill("SIGKILL");
  await closed;
  await expect(qmp.execute("cont")).rejects.toMatchObject({ code: "unavailable" });
});

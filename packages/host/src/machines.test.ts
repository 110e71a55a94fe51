import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Machine, newMachine } from "./machine.ts";
import { MachineStore } from "./machine-record.ts";
import { Machines } from "./machines.ts";
import type { TemplateFolder } from "./template-folder.ts";

const resources = { vcpus: 1, memoryMib: 1024, diskGib: 16 };
const template = { name: "base", hash: "hash", bootToken: "token", resources } as TemplateFolder;
let root: string;
let store: MachineStore;
let machines: Machines;
let machine: Machine;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "machines-"));
  store = new MachineStore(root);
  machines = new Machines({ store, log: createLogger({ write: () => {} }) });
  machine = newMachine(template, resources);
  Object.assign(machine.record, { workspaceId: "ws-one", generation: 2 });
  machines.add("ws-one", machine);
});
afterEach(async () => rm(root, { recursive: true, force: true }));

async function written() {
  return JSON.parse(await readFile(store.fileOf(machine.record.machineId, "machine.json"), "utf8"));
}

test("whoever is told of a change finds it on disk", async () => {
  const watched = machines.watch();
  expect(await watched.next()).toMatchObject({ value: { workspaceId: "ws-one", state: "starting" } });
  const next = watched.next();
  const change = machines.change(machine, { state: "dead", reason: "it was ended" });
  expect(await next).toMatchObject({ value: { state: "dead", reason: "it was ended" } });
  expect(await written()).toMatchObject({ state: "dead", reason: "it was ended" });
  await change;
  machines.close();
  expect((await watched.next()).done).toBe(true);
});

test("what is asked for ends a snapshot that is only due, and takes its turn", async () => {
  const order: string[] = [];
  const periodic = new AbortController();
  const begun = Promise.withResolvers<void>();
  const due = machines.inTurn("ws-one", async () => {
    machine.periodic = periodic;
    begun.resolve();
    await once(periodic.signal, "abort");
    order.push("gave way");
  });
  await begun.promise;
  const asked = machines.interrupting("ws-one", async () => void order.push("asked for"));
  await Promise.all([due, asked]);
  expect(order).toEqual(["gave way", "asked for"]);
  expect(periodic.signal.reason).toMatchObject({ code: "aborted", message: "something else was asked for" });
});

test("a machine is found by its workspace, of its generation alone", () => {
  expect(machines.findGeneration({ workspaceId: "ws-one", generation: 2 })).toBe(machine);
  const stale = { code: "aborted", message: "generation is 1; the machine of ws-one has generation 2" };
  expect(() => machines.findGeneration({ workspaceId: "ws-one", generation: 1 })).toThrow(
    expect.objectContaining(stale),
  );
  const none = { code: "not_found", message: "this host has no machine of ws-two" };
  expect(() => machines.find("ws-two")).toThrow(expect.objectContaining(none));
});

test("of a machine that is ended nothing is left", async () => {
  const killed: string[] = [];
  await machines.change(machine, {});
  machine.live = { kill: async () => void killed.push(machine.record.machineId) } as unknown as Machine["live"];
  await machines.end(machine);
  expect(killed).toEqual([machine.record.machineId]);
  expect(machine.live).toBeUndefined();
  expect(await readdir(root)).toEqual([]);
});

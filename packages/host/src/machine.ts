import { randomUUID } from "node:crypto";
import { createId, DormouseError } from "@dormouse/base";
import {
  closedEgress,
  type MachineInfo,
  type MachineSecret,
  type Resources,
  type TemplateInfo,
} from "@dormouse/contract";
import type { Activity } from "./activity.ts";
import type { GuestAddress } from "./guest-address.ts";
import type { LiveMachine } from "./live-machine.ts";
import type { MachineRecord } from "./machine-record.ts";
import type { TemplateFolder } from "./template-folder.ts";

/** A machine as the host holds it: its record, and its process while it has one. */
export interface Machine {
  record: MachineRecord;
  live?: LiveMachine;
  activity?: Activity;
  /** Its secrets with their values; undefined: control has not told them since the daemon began. */
  secrets?: readonly MachineSecret[];
  /** When the last snapshot of the running machine was tried. */
  triedMs: number;
  /** Ends the snapshot that is being taken because its minute is over: something else has been asked for. */
  periodic?: AbortController;
  /** How long each step of the last start took. */
  timingsMs: Record<string, number>;
}

/** A machine that is nobody's yet. */
export function newMachine(template: TemplateFolder, resources: Resources): Machine {
  return { record: newRecord(template, resources), timingsMs: {}, triedMs: 0 };
}

/** What the host says of a template. */
export function templateInfoOf({ name, hash, createdMs, resources }: TemplateFolder): TemplateInfo {
  return { name, hash, createdMs, resources };
}

/** @throws DormouseError `unavailable` when it has no process. */
export function addressOf({ live, record }: Machine): GuestAddress {
  if (!live)
    throw new DormouseError("unavailable", `the machine of ${record.workspaceId ?? "the pool"} has no process`);
  return { ...live.guest, token: record.token };
}

/** The process of a machine that runs. @throws DormouseError `failed_precondition` when it does not. */
export function liveOf({ live, record }: Machine): LiveMachine {
  if (live && record.state === "running") return live;
  throw new DormouseError("failed_precondition", `the machine of ${record.workspaceId} is ${record.state}`);
}

/** What the host says of a machine. */
export function toInfo({ record, live, activity, timingsMs }: Machine): MachineInfo {
  const { workspaceId, generation, state, reason, template, resources, startedMs } = record;
  const use = state === "running" ? activity?.use(Date.now()) : undefined;
  return {
    workspaceId: workspaceId ?? "",
    generation,
    state,
    reason,
    template,
    resources,
    address: live?.guest.address ?? null,
    pid: live?.pid ?? null,
    startedMs,
    isolation: live?.isolation ?? "emulation",
    lastSnapshot: record.lastSnapshot,
    snapshotBytes: record.snapshotBytes,
    activeMs: use?.activeMs ?? null,
    keptAwakeBy: use?.keptAwakeBy ?? null,
    timingsMs,
  };
}

function newRecord(template: TemplateFolder, resources: Resources): MachineRecord {
  return {
    version: 2,
    machineId: createId("vm"),
    workspaceId: null,
    generation: 0,
    state: "starting",
    reason: null,
    template: template.name,
    templateHash: template.hash,
    resources,
    booted: false,
    memory: null,
    filling: null,
    touched: null,
    diskBase: null,
    start: null,
    parent: null,
    lastSnapshot: null,
    snapshotBytes: 0,
    slot: null,
    startedMs: null,
    token: template.bootToken,
    tokenSalt: "",
    hostname: "dormouse",
    machineUuid: randomUUID().replaceAll("-", ""),
    bootUuid: randomUUID(),
    folder: "/workspace",
    env: {},
    isKept: true,
    secrets: [],
    trusts: null,
    egress: closedEgress,
  };
}

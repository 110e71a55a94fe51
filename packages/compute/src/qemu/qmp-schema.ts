/** The run states of QEMU that matter here (QAPI `RunState`). */
export type RunState =
  | "running"
  | "paused"
  | "prelaunch"
  | "inmigrate"
  | "postmigrate"
  | "shutdown"
  | "guest-panicked"
  | "internal-error"
  | "io-error"
  | "save-vm"
  | "restore-vm"
  | "finish-migrate"
  | "suspended"
  | "watchdog"
  | "debug"
  | "colo";

/**
 * The commands used here with what goes in and comes out, after QEMU's QAPI schema
 * (https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html).
 */
export interface QmpCommands {
  qmp_capabilities: { input: undefined; output: object };
  "query-status": { input: undefined; output: { status: RunState; running: boolean } };
  "query-version": {
    input: undefined;
    output: { qemu: { major: number; minor: number; micro: number }; package: string };
  };
  stop: { input: undefined; output: object };
  cont: { input: undefined; output: object };
  quit: { input: undefined; output: object };
  "migrate-set-capabilities": {
    input: { capabilities: { capability: "events"; state: boolean }[] };
    output: object;
  };
  "migrate-incoming": { input: { uri: string }; output: object };
  "query-migrate": { input: undefined; output: { status?: MigrationStatus; "error-desc"?: string } };
  "xen-save-devices-state": { input: { filename: string; live: boolean }; output: object };
  "blockdev-add": { input: BlockNode; output: object };
  "blockdev-del": { input: { "node-name": string }; output: object };
  "blockdev-snapshot": { input: { node: string; overlay: string }; output: object };
  "block-commit": {
    input: { "job-id": string; device: string; "top-node": string; "base-node": string; "backing-file": string };
    output: object;
  };
  "block-stream": {
    input: { "job-id": string; device: string; "base-node": string; "backing-file": string };
    output: object;
  };
  "job-cancel": { input: { id: string }; output: object };
  "query-jobs": { input: undefined; output: { id: string; status: JobStatus }[] };
  "query-block": {
    input: undefined;
    output: { qdev?: string; inserted?: { "node-name"?: string } }[];
  };
  "query-named-block-nodes": { input: { flat: boolean }; output: { "node-name"?: string }[] };
  "human-monitor-command": { input: { "command-line": string }; output: string };
  "ringbuf-read": { input: { device: string; size: number; format: "utf8" | "base64" }; output: string };
}

/** QAPI `BlockdevOptions`, the parts used for a drive's layers. */
export interface BlockNode {
  driver: "qcow2" | "raw";
  "node-name": string;
  "read-only": boolean;
  discard: "unmap" | "ignore";
  /** The node below; null: none yet. */
  backing?: string | null;
  "l2-cache-size"?: number;
  file: { driver: "file"; filename: string; aio: "threads"; locking: "on" | "off"; discard?: "unmap" };
}

/** QAPI `JobStatus`; `null` is the end. */
export type JobStatus =
  | "undefined"
  | "created"
  | "running"
  | "paused"
  | "ready"
  | "standby"
  | "waiting"
  | "pending"
  | "aborting"
  | "concluded"
  | "null";

/** QAPI `MigrationStatus`, the values an incoming migration passes through. */
export type MigrationStatus = "none" | "setup" | "active" | "completed" | "failed" | "cancelled" | "device";

/** What QEMU says without being asked, and when that was. */
export type QmpEvent = { timestamp: { seconds: number; microseconds: number } } & (
  | { event: "SHUTDOWN"; data: { guest: boolean; reason: string } }
  | { event: "STOP" | "RESUME" | "RESET" | "POWERDOWN" }
  | { event: "GUEST_PANICKED"; data: { action: string } }
  | { event: "MIGRATION"; data: { status: MigrationStatus } }
  | { event: "JOB_STATUS_CHANGE"; data: { id: string; status: JobStatus } }
  | { event: "BLOCK_JOB_COMPLETED"; data: { device: string; error?: string } }
  | { event: "BLOCK_IO_ERROR"; data: { device: string; operation: string; reason: string } }
);

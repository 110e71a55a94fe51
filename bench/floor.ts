import { spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { chmod, copyFile, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLogger, disposer } from "@dormouse/base";
import { createQemuVmm, readManifest } from "@dormouse/compute";
import { createGuestClient } from "@dormouse/guest";
import { prepareHost } from "@dormouse/host";
import { cloneDisk } from "@dormouse/image";
import { createSlotPool, type Slot } from "@dormouse/network";
import { qemuArguments } from "../packages/compute/src/qemu/command-line.ts";
import { Qmp } from "../packages/compute/src/qemu/qmp.ts";
import { runCommand } from "../packages/host/src/commands.ts";
import { fetchOver } from "../packages/host/src/fetch-over.ts";
import { type GuestAddress, openConnections } from "../packages/host/src/guest-address.ts";
import { loadTemplates, type TemplateFolder } from "../packages/host/src/template-folder.ts";

/** Times of what the platform stands on, measured without it. */
export interface Floor {
  coldBootMs: number[];
  restoreToRunningMs: number[];
  restoreToFirstAnswerMs: number[];
  restoreToFirstExecMs: number[];
  /** The same by the process starter: the identity that every machine needs first, then the command. */
  restoreToIdentityMs: number[];
  restoreToStarterExecMs: number[];
  /** Blocks of guest code that the emulator had translated by then: nearly all of the time is spent with that. */
  blocks: Record<"toFirstAnswer" | "toFirstExec" | "toIdentity" | "toStarterExec", number[]>;
}

const log = createLogger({ level: "error", write: (line) => process.stderr.write(`${line}\n`) });

/**
 * Cold boots through the driver until the agent answers, and restores by a bare QEMU:
 * no jail, no control group, no records, no identity; only the process, the template,
 * and the agent's first answers, by time since the process was started.
 */
export async function measureFloor(options: { cacheDir: string; boots: number; restores: number }): Promise<Floor> {
  const { cacheDir } = options;
  const nodeBinary = fileURLToPath(new URL("../node_modules/node/bin/node", import.meta.url));
  const prepared = await prepareHost({ cacheDir, nodeBinary, namePrefix: "dmfloor", progress: () => {}, log });
  const template = (await loadTemplates(cacheDir, log)).find(({ hash }) => hash === prepared.templateHash);
  if (!template) throw new Error(`there is no base template ${prepared.templateHash}`);
  const folder = await mkdtemp("/var/tmp/dormouse-floor-");
  // Machines run as users of their own and must be able to enter.
  await chmod(folder, 0o711);
  const pool = { namePrefix: "dmfloor", uidBase: 900_000_000, size: 1, max: 16, logger: log };
  const slots = await createSlotPool(pool);
  const floor: Floor = {
    coldBootMs: [],
    restoreToRunningMs: [],
    restoreToFirstAnswerMs: [],
    restoreToFirstExecMs: [],
    restoreToIdentityMs: [],
    restoreToStarterExecMs: [],
    blocks: { toFirstAnswer: [], toFirstExec: [], toIdentity: [], toStarterExec: [] },
  };
  try {
    for (let round = 0; round < options.boots; round++) {
      floor.coldBootMs.push(await withSlot(slots, (slot) => bootOnce(template, slot, join(folder, `boot-${round}`))));
    }
    for (let round = 0; round < options.restores; round++) {
      const through = (way: Way) =>
        withSlot(slots, (slot) => restoreOnce(template, slot, join(folder, `restore-${way.name}-${round}`), way));
      const byAgent = await through(throughAgent);
      floor.restoreToRunningMs.push(byAgent.runningMs);
      floor.restoreToFirstAnswerMs.push(byAgent.firstMs);
      floor.restoreToFirstExecMs.push(byAgent.execMs);
      floor.blocks.toFirstAnswer.push(byAgent.firstBlocks);
      floor.blocks.toFirstExec.push(byAgent.execBlocks);
      const byStarter = await through(throughStarter);
      floor.restoreToIdentityMs.push(byStarter.firstMs);
      floor.restoreToStarterExecMs.push(byStarter.execMs);
      floor.blocks.toIdentity.push(byStarter.firstBlocks);
      floor.blocks.toStarterExec.push(byStarter.execBlocks);
    }
  } finally {
    await slots.close();
    await rm(folder, { recursive: true, force: true });
  }
  return floor;
}

async function withSlot<T>(slots: Awaited<ReturnType<typeof createSlotPool>>, work: (slot: Slot) => Promise<T>) {
  const slot = await slots.allocate();
  try {
    return await work(slot);
  } finally {
    await slots.release(slot);
  }
}

async function bootOnce(template: TemplateFolder, slot: Slot, disk: string): Promise<number> {
  const { artifacts, resources } = template;
  await cloneDisk(artifacts.blankDisk, disk);
  const vmm = await createQemuVmm({ machinesDir: "/var/tmp/dormouse-floor-vmm", accelerator: "tcg" });
  const startedMs = performance.now();
  const machine = await vmm.boot(
    {
      id: `floor-${slot.index}`,
      resources,
      slot,
      drives: { system: artifacts.systemDrive, image: artifacts.baseImage, workspace: disk },
      kernel: artifacts.kernel,
      initramfs: artifacts.initramfs,
      kernelParameters: ["dormouse.token=floor-floor-floor"],
    },
    { isReady: async (signal) => (await fetch(`http://${slot.address}:7000/health`, { signal })).ok },
  );
  const bootedMs = performance.now() - startedMs;
  await machine.kill();
  return bootedMs;
}

/** How a bare machine is spoken to: what it answers first, and a command. */
interface Way {
  name: string;
  first(guest: GuestAddress): Promise<unknown>;
  exec(guest: GuestAddress): Promise<{ exitCode: number }>;
}

const throughAgent: Way = {
  name: "agent",
  first: ({ address, port, connections }) =>
    // A guest that was restored a moment ago may miss the first packet.
    fetchOver(connections)(
      new Request(`http://${address}:${port}/health`, { signal: AbortSignal.timeout(10_000) }),
    ).then((answer) => answer.text()),
  exec: ({ address, port, token, connections }) =>
    createGuestClient({ baseUrl: `http://${address}:${port}`, token, fetch: fetchOver(connections) }).exec.run({
      command: "true",
    }),
};

const throughStarter: Way = {
  name: "starter",
  first: ({ spawner, token }) =>
    spawner.identify({
      nowMs: Date.now,
      hostname: "floor",
      machineId: "0".repeat(32),
      bootId: randomUUID(),
      entropy: randomBytes(64),
      token,
      content: "{}",
    }),
  exec: (guest) => runCommand(guest, { env: {}, folder: "/workspace", user: undefined }, { command: "true" }),
};

async function restoreOnce(template: TemplateFolder, slot: Slot, prefix: string, way: Way) {
  await using stack = disposer();
  const disk = `${prefix}.ext4`;
  const devices = `${prefix}.devices`;
  const controlSocket = `${prefix}.sock`;
  const manifest = await readManifest(template.memory);
  await cloneDisk(template.disk, disk);
  await copyFile(join(template.memory, manifest.devices.name), devices);
  const qemu = qemuArguments({
    id: "floor",
    accelerator: "tcg",
    resources: template.resources,
    memory: { file: join(template.memory, manifest.memory.name), mode: "private" },
    drives: { system: template.artifacts.systemDrive, image: template.artifacts.baseImage, workspace: disk },
    tap: slot.tap,
    controlSocket,
    start: { kind: "restore" },
  });
  const startedMs = performance.now();
  const command = ["netns", "exec", slot.namespace, "qemu-system-x86_64", ...qemu];
  const child = spawn("ip", command, { stdio: ["ignore", "ignore", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  stack.add(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const qmp = await Qmp.connect(controlSocket, { timeoutMs: 10_000, isAlive: () => child.exitCode === null });
  await qmp.execute("migrate-incoming", { uri: `file:${devices}` });
  while ((await qmp.execute("query-migrate")).status !== "completed") await new Promise((done) => setImmediate(done));
  await qmp.execute("cont");
  const runningMs = performance.now() - startedMs;
  const connections = openConnections(slot.address, () => template.bootToken);
  stack.add(() => connections.close());
  const guest = { ...connections, token: template.bootToken };
  const blocks = async () => {
    const text = await qmp.execute("human-monitor-command", { "command-line": "info jit" });
    return Number(/TB count\s+(\d+)/.exec(text)?.[1]);
  };
  await way.first(guest);
  const firstMs = performance.now() - startedMs;
  const firstBlocks = await blocks();
  const resumedMs = performance.now();
  const { exitCode } = await way.exec(guest);
  if (exitCode !== 0) throw new Error(`the first exec ended with ${exitCode}`);
  const execMs = firstMs + performance.now() - resumedMs;
  return { runningMs, firstMs, firstBlocks, execMs, execBlocks: await blocks() };
}

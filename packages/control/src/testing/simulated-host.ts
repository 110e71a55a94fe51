import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import type { Duplex } from "node:stream";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import {
  convertRpcErrors,
  type EgressPolicy,
  type EgressRefusal,
  type FeatureSource,
  guestContract,
  hostContract,
  type ListeningPort,
  type MachineInfo,
  type MachineSecret,
  machineAwayHeader,
  type SnapshotInfo,
  type SnapshotRef,
} from "@dormouse/contract";
import { implement } from "@orpc/server";
import { RPCHandler } from "@orpc/server/node";
import type { HostClient } from "../host/client.ts";

/** A host daemon without machines: the whole host contract over real HTTP, with what a host remembers in memory. */
export interface SimulatedHost extends AsyncDisposable {
  url: string;
  token: string;
  machines: Map<string, MachineInfo>;
  /** Of each workspace, newest first. */
  snapshots: Map<string, SnapshotInfo[]>;
  /** Commands that were sent to machines. */
  executed: string[];
  /** The environments of commands that were started, in order. */
  environments: Record<string, string>[];
  /** What machines were created with, in order. */
  created: MachineOrder[];
  /** Policies that machines were given while they ran, in order. */
  egress: { workspaceId: string; policy: EgressPolicy }[];
  /** Secrets that machines were given while they ran, in order. */
  secrets: { workspaceId: string; secrets: MachineSecret[]; env: Record<string, string> }[];
  /** Tells who watches that something was refused. */
  refuse(workspaceId: string, refusal: EgressRefusal): void;
  /** Files that every machine has, by path. */
  files: Map<string, string>;
  /** Metadata of the features in its registry, by id, and what of them was asked for. */
  features: Map<string, object>;
  fetched: FeatureSource[];
  /** What the next calls meet; set by tests. */
  behaviour: {
    /** Called before each state-changing call; may wait or throw. */
    before?: (
      call: "create" | "delete" | "clone" | "hibernate" | "wake" | "snapshot" | "egress" | "secrets",
      workspaceId: string,
    ) => Promise<void> | void;
    vcpus: number;
    /** What listens in every machine. */
    ports: ListeningPort[];
    /** What a command prints instead of being run for real, by its line. */
    run?: (line: string) => string | undefined;
    /** What the next snapshots say of the repository. */
    git?: SnapshotInfo["git"];
  };
  /** Changes a machine as a host would on its own, and tells who watches. */
  change(workspaceId: string, patch: Partial<MachineInfo>): void;
}

type MachineOrder = Parameters<HostClient["machines"]["create"]>[0];

const resources = { vcpus: 1, memoryMib: 1024, diskGib: 16 };

/** Starts a {@link SimulatedHost} on a free port of the loopback address. */
export async function startSimulatedHost(options: { port?: number } = {}): Promise<SimulatedHost> {
  const token = "simulated-host-token";
  const machines = new Map<string, MachineInfo>();
  const snapshots = new Map<string, SnapshotInfo[]>();
  const watchers = new Set<(machine: MachineInfo) => void>();
  const executed: string[] = [];
  const environments: Record<string, string>[] = [];
  const created: MachineOrder[] = [];
  const egress: SimulatedHost["egress"] = [];
  const secrets: SimulatedHost["secrets"] = [];
  const refusalWatchers = new Set<(refusal: { workspaceId: string; refusal: EgressRefusal }) => void>();
  const files = new Map([["/etc/passwd", "root:x:0:0::/root:/bin/sh\ndev:x:1000:1000::/home/dev:/bin/sh\n"]]);
  const ended = new Map<string, number>();
  const features = new Map<string, object>();
  const fetched: FeatureSource[] = [];
  let snapshotCount = 0;
  const behaviour: SimulatedHost["behaviour"] = { vcpus: 64, ports: [] };

  const tell = (machine: MachineInfo) => {
    machines.set(machine.workspaceId, machine);
    for (const watcher of watchers) watcher(machine);
    return machine;
  };
  const existing = (workspaceId: string) => {
    const machine = machines.get(workspaceId);
    if (!machine) throw new DormouseError("not_found", `no machine of workspace ${workspaceId}`);
    return machine;
  };
  const fenced = (workspaceId: string, generation: number) => {
    const machine = machines.get(workspaceId);
    if (machine && machine.generation > generation) {
      throw new DormouseError("aborted", `generation ${generation} is older than ${machine.generation}`);
    }
    return machine;
  };
  const keep = (machine: MachineInfo, reason: SnapshotInfo["reason"], name: string | null = null) => {
    const { workspaceId, generation } = machine;
    const all = snapshots.get(workspaceId) ?? [];
    const [parent] = all;
    const snapshot: SnapshotInfo = {
      id: `snap-${++snapshotCount}`,
      workspaceId,
      generation,
      createdMs: Date.now(),
      name,
      reason,
      parent: parent ? { workspaceId, id: parent.id } : null,
      storedBytes: 1024,
      pauseMs: 1,
      git: behaviour.git ?? null,
      processes: 1,
    };
    snapshots.set(workspaceId, [snapshot, ...all]);
    const { id, createdMs } = snapshot;
    tell({ ...machine, lastSnapshot: { id, createdMs }, snapshotBytes: machine.snapshotBytes + 1024 });
    return snapshot;
  };
  const requireSnapshot = ({ workspaceId, id }: SnapshotRef) => {
    const found = snapshots.get(workspaceId)?.find((snapshot) => snapshot.id === id);
    if (!found) throw new DormouseError("not_found", `there is no snapshot ${id} of ${workspaceId}`);
    return found;
  };
  const free = () =>
    behaviour.vcpus -
    [...machines.values()].filter(({ state }) => state === "running").reduce((sum, m) => sum + m.resources.vcpus, 0);

  const host = implement(hostContract).use(({ next }) => convertRpcErrors(() => next()));
  const hostRouter = host.router({
    machines: {
      create: host.machines.create.handler(async ({ input }) => {
        await behaviour.before?.("create", input.workspaceId);
        const machine = fenced(input.workspaceId, input.generation);
        if (machine?.generation === input.generation && machine.state === "running") return machine;
        if (free() < input.resources.vcpus) {
          throw new DormouseError("resource_exhausted", `this host has ${free()} of ${behaviour.vcpus} vCPUs free`);
        }
        if (input.snapshot) requireSnapshot(input.snapshot);
        created.push(input);
        return tell({
          workspaceId: input.workspaceId,
          generation: input.generation,
          state: "running",
          reason: null,
          template: input.template,
          resources: input.resources,
          address: "10.0.0.1",
          pid: process.pid,
          startedMs: Date.now(),
          isolation: "emulation",
          lastSnapshot: null,
          snapshotBytes: 0,
          activeMs: Date.now(),
          keptAwakeBy: null,
          timingsMs: {},
        });
      }),
      get: host.machines.get.handler(({ input }) => existing(input.workspaceId)),
      list: host.machines.list.handler(() => ({ machines: [...machines.values()] })),
      hibernate: host.machines.hibernate.handler(async ({ input }) => {
        await behaviour.before?.("hibernate", input.workspaceId);
        fenced(input.workspaceId, input.generation);
        keep(existing(input.workspaceId), "hibernate");
        return tell({ ...existing(input.workspaceId), state: "hibernated", pid: null, address: null, activeMs: null });
      }),
      wake: host.machines.wake.handler(async ({ input }) => {
        await behaviour.before?.("wake", input.workspaceId);
        fenced(input.workspaceId, input.generation);
        const { generation, workspaceId, snapshotId } = input;
        if (snapshotId !== undefined) requireSnapshot({ workspaceId, id: snapshotId });
        const machine = existing(workspaceId);
        const nowMs = Date.now();
        const alive = { pid: process.pid, startedMs: nowMs, activeMs: nowMs, reason: null };
        return tell({ ...machine, ...alive, generation, state: "running" });
      }),
      restart: host.machines.restart.handler(({ input }) => {
        fenced(input.workspaceId, input.generation);
        return existing(input.workspaceId);
      }),
      snapshot: host.machines.snapshot.handler(async ({ input }) => {
        await behaviour.before?.("snapshot", input.workspaceId);
        fenced(input.workspaceId, input.generation);
        return keep(existing(input.workspaceId), input.reason, input.name ?? null);
      }),
      delete: host.machines.delete.handler(async ({ input }) => {
        await behaviour.before?.("delete", input.workspaceId);
        fenced(input.workspaceId, input.generation);
        machines.delete(input.workspaceId);
        if (!input.keepSnapshots) snapshots.delete(input.workspaceId);
        return {};
      }),
      console: host.machines.console.handler(({ input }) => ({
        text: `console of ${existing(input.workspaceId).workspaceId}`,
      })),
      watch: host.machines.watch.handler(async function* ({ signal }) {
        const queue = [...machines.values()];
        let wake = () => {};
        const watcher = (machine: MachineInfo) => {
          queue.push(machine);
          wake();
        };
        watchers.add(watcher);
        signal?.addEventListener("abort", () => wake(), { once: true });
        try {
          while (!signal?.aborted) {
            const next = queue.shift();
            if (next) yield next;
            else {
              await new Promise<void>((resolve) => {
                wake = resolve;
              });
            }
          }
        } finally {
          watchers.delete(watcher);
        }
      }),
    },
    secrets: {
      set: host.secrets.set.handler(async ({ input }) => {
        await behaviour.before?.("secrets", input.workspaceId);
        existing(input.workspaceId);
        secrets.push(input);
        return {};
      }),
    },
    egress: {
      set: host.egress.set.handler(async ({ input }) => {
        await behaviour.before?.("egress", input.workspaceId);
        existing(input.workspaceId);
        egress.push(input);
        return {};
      }),
      log: host.egress.log.handler(() => ({ refusals: [], hours: [], counters: null })),
      test: host.egress.test.handler(() => ({ isAllowed: true, reason: "simulated" })),
      watch: host.egress.watch.handler(async function* ({ signal }) {
        const queue: { workspaceId: string; refusal: EgressRefusal }[] = [];
        let wake = () => {};
        const watcher = (refusal: (typeof queue)[number]) => {
          queue.push(refusal);
          wake();
        };
        refusalWatchers.add(watcher);
        signal?.addEventListener("abort", () => wake());
        try {
          while (!signal?.aborted) {
            yield* queue.splice(0);
            await new Promise<void>((resolve) => (wake = resolve));
          }
        } finally {
          refusalWatchers.delete(watcher);
        }
      }),
    },
    snapshots: {
      list: host.snapshots.list.handler(({ input }) => ({ snapshots: snapshots.get(input.workspaceId) ?? [] })),
      delete: host.snapshots.delete.handler(({ input }) => {
        const { id } = requireSnapshot(input);
        snapshots.set(
          input.workspaceId,
          (snapshots.get(input.workspaceId) ?? []).filter((snapshot) => snapshot.id !== id),
        );
        return {};
      }),
    },
    templates: {
      list: host.templates.list.handler(() => ({
        templates: [{ name: "base", createdMs: 1_700_000_000_000, resources, hash: "0" }],
      })),
      ofImage: host.templates.ofImage.handler(async function* ({ input }) {
        yield { step: "image.image", message: `Pulling ${input.image}` };
        return { name: `image-of-${input.image}`, createdMs: Date.now(), resources, hash: input.image };
      }),
    },
    images: {
      resolve: host.images.resolve.handler(({ input }) => {
        if (input.reference.includes("missing")) {
          throw new DormouseError("not_found", `there is no image ${input.reference}`);
        }
        return { reference: input.reference, digest: `sha256:${"0".repeat(64)}`, user: "", env: {}, labels: {} };
      }),
      deliver: host.images.deliver.handler(async function* ({ input }) {
        yield { step: "image.deliver", message: `Bringing ${input.image}` };
        return {};
      }),
      adopt: host.images.adopt.handler(async function* () {
        yield { step: "image.adopt", message: "Taking what was built" };
        const digest = `sha256:${"1".repeat(64)}`;
        return { reference: digest, digest, user: "", env: {}, labels: {} };
      }),
    },
    features: {
      fetch: host.features.fetch.handler(({ input }) => {
        fetched.push(input);
        const id = input.kind === "registry" ? input.id : input.url;
        const metadata = features.get(id);
        if (metadata === undefined) throw new DormouseError("not_found", `there is no feature ${id}`);
        const digest = (input.kind === "registry" && input.digest) || featureDigest(id);
        const content = Buffer.from(JSON.stringify(metadata)).toString("base64");
        return { digest, files: [{ path: "devcontainer-feature.json", mode: 0o644, content }] };
      }),
    },
    capacity: host.capacity.handler(() => ({
      vcpus: { total: behaviour.vcpus, free: free() },
      memoryMib: { total: 65_536, free: 65_536 - machines.size * 1024 },
      diskFreeBytes: 1e12,
      slots: { total: 100, free: 100 - machines.size },
      pool: { size: 0, ready: 0 },
    })),
  });

  // Of the agent, as much as control itself calls. Commands run for real, on this machine.
  const guest = implement(guestContract)
    .$context<{ workspaceId: string }>()
    .use(({ next }) => convertRpcErrors(() => next()));
  const guestRouter = {
    exec: {
      run: guest.exec.run.handler(async ({ input }) => {
        const args = typeof input.command === "string" ? ["bash", "-c", input.command] : input.command;
        executed.push(args.join(" "));
        const said = behaviour.run?.(args.join(" "));
        const ended = { exitCode: 0, signal: null, stderr: "", timedOut: false, truncated: false, durationMs: 1 };
        if (said !== undefined) return { ...ended, stdout: said };
        const [program = "", ...rest] = args;
        const stdin = Buffer.from(input.stdin ?? "", "base64");
        const okCodes = Array.from({ length: 256 }, (_, n) => n);
        // Not where the tests are run: what is meant for a machine's repository must not meet theirs.
        const result = await run(program, rest, { input: stdin, cwd: tmpdir(), okCodes });
        return {
          exitCode: result.code,
          signal: null,
          stdout: result.stdout,
          stderr: result.stderr,
          timedOut: false,
          truncated: false,
          durationMs: 1,
        };
      }),
      // Nothing is run: a line ends with the code that stands behind its last `exit`.
      start: guest.exec.start.handler(({ input }) => {
        const line = [input.command].flat().join(" ");
        executed.push(`${input.user ?? "nobody"} in ${input.cwd ?? "nowhere"}: ${line}`);
        environments.push(input.env ?? {});
        const processId = `p-${executed.length}`;
        ended.set(processId, Number(/exit (\d+)$/.exec(line)?.[1] ?? 0));
        return { processId, pid: 1, command: input.command, startedMs: Date.now(), exitCode: null };
      }),
      attach: guest.exec.attach.handler(async function* ({ input }) {
        yield { type: "stdout", offset: 0, data: Buffer.from("said so\n").toString("base64") };
        yield { type: "exit", exitCode: ended.get(input.processId) ?? 0, signal: null, timedOut: false };
      }),
    },
    files: {
      exists: guest.files.exists.handler(({ input }) => ({
        exists: [...files.keys()].some((path) => path === input.path || path.startsWith(`${input.path}/`)),
      })),
      list: guest.files.list.handler(({ input }) => {
        const below = [...files.keys()].filter((path) => path.startsWith(`${input.path}/`));
        const names = new Set(below.map((path) => path.slice(input.path.length + 1).split("/")[0] ?? ""));
        return { entries: [...names].map((name) => entryOf(files, `${input.path}/${name}`)), truncated: false };
      }),
      read: guest.files.read.handler(({ input }) => {
        const text = files.get(input.path);
        if (text === undefined) throw new DormouseError("not_found", `path: ${input.path} is not there`);
        return { content: Buffer.from(text).toString("base64"), entry: entryOf(files, input.path) };
      }),
      write: guest.files.write.handler(({ input }) => {
        files.set(input.path, Buffer.from(input.content, "base64").toString("utf8"));
        return entryOf(files, input.path);
      }),
      makeDirectory: guest.files.makeDirectory.handler(({ input }) => {
        executed.push(`mkdir ${input.path}`);
        return entryOf(files, input.path);
      }),
      remove: guest.files.remove.handler(({ input }) => {
        for (const path of files.keys())
          if (path === input.path || path.startsWith(`${input.path}/`)) files.delete(path);
        return {};
      }),
    },
    ports: { list: guest.ports.list.handler(() => ({ ports: behaviour.ports })) },
    git: {
      fetch: guest.git.fetch.handler(async function* ({ input }) {
        executed.push(`git fetch ${input.remote} ${input.branch} as ${input.credential?.username ?? "nobody"}`);
        yield { phase: "receiving", fraction: 0.5, message: "Receiving objects: 50%" };
        if (input.branch?.endsWith("away")) throw new DormouseError("unavailable", "the git server is away");
        return { head: "0123456789abcdef" };
      }),
      clone: guest.git.clone.handler(async function* ({ input, context }) {
        await behaviour.before?.("clone", context.workspaceId);
        executed.push(`git clone ${input.url} ${input.path} as ${input.credential?.username ?? "nobody"}`);
        yield { phase: "receiving", fraction: 0.5, message: "Receiving objects: 50%" };
        if (input.url.includes("missing")) {
          throw new DormouseError("not_found", `there is no repository ${input.url}`, {
            details: { reason: "repository_not_found" },
          });
        }
        return { head: "0123456789abcdef" };
      }),
    },
  };

  const hostHandler = new RPCHandler(hostRouter);
  const guestHandler = new RPCHandler(guestRouter);
  async function handle(request: IncomingMessage, response: ServerResponse) {
    if (request.headers.authorization !== `Bearer ${token}`) return void response.writeHead(401).end();
    const ofMachine = /^\/machines\/([^/]+)\/guest\/(?:rpc|file)/.exec(request.url ?? "");
    const workspaceId = ofMachine?.[1];
    if (ofMachine && workspaceId !== undefined) {
      if (machines.get(workspaceId)?.state !== "running") {
        const error = new DormouseError("unavailable", `the machine of ${workspaceId} does not run`);
        return void response.writeHead(503, { "content-type": "application/json" }).end(JSON.stringify(error));
      }
      const prefix = ofMachine[0] as `/${string}`;
      if (request.url?.includes("/guest/file?")) {
        request.resume();
        return void response.writeHead(200).end(request.method === "PUT" ? "{}" : "a folder");
      }
      const { matched } = await guestHandler.handle(request, response, { prefix, context: { workspaceId } });
      if (matched) return;
    } else if ((await hostHandler.handle(request, response, { prefix: "/rpc", context: {} })).matched) return;
    response.writeHead(404).end();
  }
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  // A machine's ports are those of this machine.
  server.on("upgrade", (request, socket: Duplex) => {
    const [, workspaceId = "", port] = /^\/machines\/([^/]+)\/guest\/port\/(\d+)$/.exec(request.url ?? "") ?? [];
    socket.on("error", () => socket.destroy());
    if (request.headers.authorization !== `Bearer ${token}`) return void socket.destroy();
    if (machines.get(workspaceId)?.state !== "running") {
      socket.end(`HTTP/1.1 503 Away\r\n${machineAwayHeader}: 1\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const behind = connect({ host: "127.0.0.1", port: Number(port), allowHalfOpen: true });
    behind.on("error", () => socket.destroy());
    behind.once("connect", () => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n");
      behind.pipe(socket).pipe(behind);
    });
    socket.once("close", () => behind.destroy());
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    machines,
    snapshots,
    executed,
    environments,
    created,
    egress,
    secrets,
    refuse(workspaceId, refusal) {
      for (const watcher of refusalWatchers) watcher({ workspaceId, refusal });
    },
    files,
    features,
    fetched,
    behaviour,
    change: (workspaceId, patch) => void tell({ ...existing(workspaceId), ...patch }),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** What a feature's contents come to, which its id stands for here. */
export function featureDigest(id: string): string {
  return `sha256:${createHash("sha256").update(id).digest("hex")}`;
}

function entryOf(files: ReadonlyMap<string, string>, path: string) {
  const text = files.get(path);
  const type = text === undefined ? ("directory" as const) : ("file" as const);
  const times = { modifiedMs: 0, createdMs: 0, mode: 0o644, uid: 0, gid: 0, etag: "" };
  return { path, name: path.split("/").at(-1) ?? "", type, size: text?.length ?? 0, ...times };
}

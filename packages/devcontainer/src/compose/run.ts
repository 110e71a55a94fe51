import { posix } from "node:path";
import { type ComposePlan, type ServiceNetwork, servicesNetwork } from "./plan.ts";
import type { ComposeDependency, ComposeMount, ComposeService } from "./service.ts";

/** How a service is run by the engine of a machine, `podman run`. */
export interface ServiceRun {
  name: string;
  /** Of podman, but for name and image. */
  options: string[];
  /** What follows the image. */
  command: string[];
  /** Files and folders of the machine that are mounted; what is not there becomes a folder. */
  binds: string[];
  dependsOn: ComposeDependency[];
  /** How often and how long others wait for it to be well; null: as its image says. */
  healthcheck: { intervalMs: number; timeoutMs: number; retries: number; startPeriodMs: number } | null;
}

/** What {@link serviceRuns} needs to know of the workspace. */
export interface ServiceRunOptions {
  /** Where the repository lies. */
  folder: string;
  /** Ports of services that are wanted at the machine itself. */
  forwarded: readonly { host: string; port: number }[];
}

/** The network's name, for the engine. */
export const networkName = "services";
/** Where the engine finds the machine's own root. */
const machineRoot = "/host";

/** The runs of all services of a plan, in its order. */
export function serviceRuns(plan: ComposePlan, options: ServiceRunOptions): ServiceRun[] {
  return plan.services.map((service) => {
    const mounts = service.mounts.map((mount) => mountOf(mount, plan.workspace, options.folder));
    const check = service.healthcheck;
    return {
      name: service.name,
      options: [
        ...networkOptions(service, plan, options),
        ...Object.entries(service.environment).map(([name, value]) => `--env=${name}=${value}`),
        ...mounts.map(({ option }) => option),
        ...(service.entrypoint === null ? [] : [`--entrypoint=${JSON.stringify(service.entrypoint)}`]),
        ...(service.user === null ? [] : [`--user=${service.user}`]),
        ...(service.workingDir === null ? [] : [`--workdir=${service.workingDir}`]),
        ...(service.restart === "no" ? [] : [`--restart=${service.restart}`]),
        ...healthOptions(check),
        ...service.options,
      ],
      command: service.command ?? [],
      binds: mounts.flatMap(({ bind }) => bind ?? []),
      dependsOn: service.dependsOn,
      healthcheck:
        check === null || check === "none"
          ? null
          : {
              ...{ intervalMs: check.intervalMs, timeoutMs: check.timeoutMs },
              ...{ retries: check.retries, startPeriodMs: check.startPeriodMs },
            },
    };
  });
}

/** Names by which the workspace reaches services, with their addresses. */
export function hostsOfWorkspace(plan: ComposePlan): { name: string; address: string }[] {
  return hostsOf(plan, "127.0.0.1").filter(({ name }) => name !== plan.workspace.name);
}

/** Every name in the project: services have addresses of their own, the rest is the machine. */
function hostsOf(plan: ComposePlan, machine: string): { name: string; address: string }[] {
  const addresses = new Map<string, string | undefined>([[plan.workspace.name, machine]]);
  const addressOf = (network: ServiceNetwork): string | undefined => {
    if (network.kind === "project") return network.address;
    if (network.kind === "machine") return machine;
    return network.kind === "shared" ? addresses.get(network.service) : undefined;
  };
  // Those that share a network have its address, which stands later in the plan at times.
  for (const kind of ["project", "machine", "none", "shared"]) {
    for (const { name, network } of plan.services) {
      if (network.kind === kind) addresses.set(name, addressOf(network));
    }
  }
  return [plan.workspace, ...plan.services].flatMap(({ name, aliases }) => {
    const address = addresses.get(name);
    return address === undefined ? [] : [name, ...aliases].map((one) => ({ name: one, address }));
  });
}

function networkOptions(
  service: ComposePlan["services"][number],
  plan: ComposePlan,
  { forwarded }: ServiceRunOptions,
): string[] {
  const { network } = service;
  if (network.kind === "none") return ["--network=none"];
  // Names and ports belong to the one whose network it is.
  if (network.kind === "shared") return [`--network=container:${network.service}`];
  const hosts = [
    ...hostsOf(plan, network.kind === "machine" ? "127.0.0.1" : servicesNetwork.gateway).map(
      ({ name, address }) => `${name}:${address}`,
    ),
    ...service.extraHosts,
  ].map((host) => `--add-host=${host.replace(/:host-gateway$/, `:${servicesNetwork.gateway}`)}`);
  if (network.kind === "machine") return ["--network=host", ...hosts];
  return [
    ...[`--network=${networkName}`, `--ip=${network.address}`, `--hostname=${service.hostname ?? service.name}`],
    ...hosts,
    ...publishedPorts(service, forwarded),
  ];
}

function publishedPorts({ name, ports }: ComposeService, forwarded: ServiceRunOptions["forwarded"]): string[] {
  const published = ports.filter(({ published }) => published !== null);
  const wanted = forwarded.filter(
    ({ host, port }) => host === name && !published.some((other) => other.published === port),
  );
  return [
    ...published.map(({ target, published: port, hostIp, protocol }) => {
      const address = hostIp === null ? "" : `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:`;
      return `--publish=${address}${port}:${target}/${protocol}`;
    }),
    ...wanted.map(({ port }) => `--publish=127.0.0.1:${port}:${port}/tcp`),
  ];
}

function mountOf(
  { type, source, target, readOnly }: ComposeMount,
  workspace: ComposeService,
  folder: string,
): { option: string; bind?: string } {
  const mode = readOnly ? ":ro" : "";
  if (type === "tmpfs") return { option: `--tmpfs=${target}` };
  if (source === null) return { option: `--volume=${target}` };
  // The workspace has its volumes as folders of its own root.
  const shared = workspace.mounts.find((mount) => mount.type === "volume" && mount.source === source);
  if (type === "volume" && !shared) return { option: `--volume=${source}:${target}${mode}` };
  const bind = type === "volume" && shared ? shared.target : posix.resolve(folder, source);
  return { option: `--volume=${posix.join(machineRoot, bind)}:${target}${mode}`, bind };
}

function healthOptions(check: ComposeService["healthcheck"]): string[] {
  if (check === null) return [];
  if (check === "none") return ["--no-healthcheck"];
  const [kind, ...words] = check.test;
  return [
    // Podman takes a list for a program with its arguments, unless it begins with this.
    `--health-cmd=${JSON.stringify(kind === "CMD-SHELL" ? check.test : words)}`,
    `--health-interval=${check.intervalMs}ms`,
    `--health-timeout=${Math.max(1000, check.timeoutMs)}ms`,
    `--health-retries=${check.retries}`,
  ];
}

/**
 * Where the repository lies in the machine, by what the workspace's service mounts of it: undefined when it mounts nothing
 * of it.
 * @param folder where it would lie otherwise.
 */
export function composeFolder({ workspace }: ComposePlan, folder: string): string | undefined {
  for (const { type, source, target } of workspace.mounts) {
    if (type !== "bind" || source === null || source.startsWith("/")) continue;
    const path = posix.resolve(folder, source);
    if (path === folder) return target;
    if (folder.startsWith(path === "/" ? path : `${path}/`)) return posix.join(target, posix.relative(path, folder));
  }
  return undefined;
}

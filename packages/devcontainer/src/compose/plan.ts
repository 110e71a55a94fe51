import { DormouseError } from "@dormouse/base";
import type { ComposeProject } from "./project.ts";
import type { ComposeDependency, ComposeService } from "./service.ts";

/** How a service is reached: in the project's network, in the machine's own, in that of another service, or not at all. */
export type ServiceNetwork =
  | { kind: "project"; address: string }
  | { kind: "machine" }
  | { kind: "shared"; service: string }
  | { kind: "none" };

/** What runs beside a workspace, and in which order. */
export interface ComposePlan {
  /** The one that is the workspace. */
  workspace: ComposeService;
  /** The others, each after those that it depends on. */
  services: (ComposeService & { network: ServiceNetwork })[];
}

/** Which services are planned. */
export interface PlanOptions {
  service: string;
  /** Default: all but those with profiles that are not active. */
  runServices?: readonly string[] | undefined;
}

/** The network of a machine's services; the machine itself is the first address in it. */
export const servicesNetwork = { subnet: "10.89.0.0/24", gateway: "10.89.0.1", prefix: "10.89.0." } as const;

const maxServices = 200;

/**
 * Chooses the services of a project that run beside the workspace: those that are named, or all, and whatever these and
 * the workspace need.
 * @throws DormouseError `failed_precondition` with `details` naming file, line and column.
 */
export function planCompose(project: ComposeProject, { service, runServices }: PlanOptions): ComposePlan {
  const workspace = project.services.get(service);
  if (!workspace) {
    const names = [...project.services.keys()].join(", ") || "none";
    throw new DormouseError("failed_precondition", `service is ${JSON.stringify(service)}: the services are: ${names}`);
  }
  for (const name of runServices ?? []) {
    if (!project.services.has(name)) {
      throw new DormouseError(
        "failed_precondition",
        `runServices names ${JSON.stringify(name)}: there is no such service`,
      );
    }
  }
  const order = orderOf(project, workspace, runServices);
  if (order.length > maxServices) {
    throw wrong(project, ["services"], `${order.length} services would run: at most ${maxServices} can`);
  }
  const machine = networkOwner(project, workspace);
  let last = 1;
  const services = order.map((one) => {
    const owner = networkOwner(project, one);
    const network: ServiceNetwork =
      owner === machine || owner.networkMode === "host"
        ? { kind: "machine" }
        : owner !== one
          ? { kind: "shared", service: owner.name }
          : one.networkMode === "none"
            ? { kind: "none" }
            : { kind: "project", address: `${servicesNetwork.prefix}${++last}` };
    return { ...one, network };
  });
  return { workspace, services };
}

function orderOf(project: ComposeProject, workspace: ComposeService, runServices: readonly string[] | undefined) {
  const isActive = ({ profiles }: ComposeService) =>
    profiles.length === 0 || profiles.some((profile) => profile === "*" || project.profiles.includes(profile));
  const order: ComposeService[] = [];
  const state = new Map<string, "begun" | "done">();
  const visit = (service: ComposeService) => {
    if (state.get(service.name) === "done") return;
    if (state.get(service.name) === "begun") {
      throw wrong(project, ["services", service.name, "depends_on"], `${service.name} depends on itself, by others`);
    }
    state.set(service.name, "begun");
    for (const { dependency, needed } of dependenciesOf(project, service)) {
      // The workspace is there before all of them.
      if (needed && needed !== workspace && (dependency.required || isActive(needed))) visit(needed);
    }
    state.set(service.name, "done");
    if (service !== workspace) order.push(service);
  };
  visit(workspace);
  for (const service of project.services.values()) {
    if (runServices === undefined ? isActive(service) : runServices.includes(service.name)) visit(service);
  }
  return order;
}

function dependenciesOf(project: ComposeProject, { name, dependsOn }: ComposeService) {
  return dependsOn.map((dependency: ComposeDependency) => {
    const needed = project.services.get(dependency.service);
    if (!needed && dependency.required) {
      throw wrong(project, ["services", name], `${name} needs ${dependency.service}: there is no such service`);
    }
    return { dependency, needed };
  });
}

/** Whose network a service is in: its own, or that of another, which may be in that of yet another. */
function networkOwner(project: ComposeProject, service: ComposeService): ComposeService {
  const seen = new Set([service]);
  let owner = service;
  for (;;) {
    const name = /^service:(.+)$/.exec(owner.networkMode ?? "")?.[1];
    const next = name === undefined ? undefined : project.services.get(name);
    if (!next) return owner;
    if (seen.has(next)) {
      throw wrong(project, ["services", service.name, "network_mode"], `network_mode leads back to ${next.name}`);
    }
    seen.add(next);
    owner = next;
  }
}

function wrong(project: ComposeProject, path: string[], message: string): DormouseError {
  const place = project.locate(path);
  return new DormouseError("failed_precondition", `${place.file}:${place.line}:${place.column}: ${message}`, {
    details: place,
  });
}

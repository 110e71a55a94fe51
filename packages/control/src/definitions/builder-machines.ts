import { createId, DormouseError, type Logger } from "@dormouse/base";
import type { TemplateInfo } from "@dormouse/contract";
import { type GuestClient, type HostConnection, remote } from "../host/client.ts";
import type { BuildStore } from "./build-store.ts";
import type { BuildWatcher } from "./builder.ts";
import type { MachineStart } from "./definition.ts";

/** Machines that something is built in. They are nobody's, and gone afterwards. */
export interface BuilderMachines {
  /** Their ids, as long as they are needed. */
  readonly active: ReadonlySet<string>;
  /** Starts one, works in it, and removes it however that ends. Snapshots of it stay when somebody may start from them. */
  run<T>(
    options: { start: MachineStart; env: Record<string, string>; watcher: BuildWatcher; signal: AbortSignal },
    work: (machine: { id: string; guest: GuestClient }) => Promise<T>,
  ): Promise<T>;
}

/** {@link BuilderMachines} on a host. */
export function createBuilderMachines(options: {
  host: HostConnection;
  store: Pick<BuildStore, "builders">;
  log: Logger;
}): BuilderMachines {
  const { host, store, log } = options;
  const active = new Set<string>();

  async function remove(id: string) {
    const keepSnapshots = (await store.builders([id])).size > 0;
    await remote(host.calls.machines.delete({ workspaceId: id, generation: 1, keepSnapshots }));
  }

  return {
    active,
    async run({ start, env, watcher, signal }, work) {
      const id = createId("bld");
      active.add(id);
      try {
        watcher.onProgress({ step: "builder", message: "Starting a machine to build in" });
        await remote(
          host.calls.machines.create(
            {
              ...{ workspaceId: id, generation: 1, template: start.template, hostname: "builder" },
              ...{
                resources: start.resources,
                env,
                folder: "/tmp",
                user: "root",
                isKept: false,
                egress: watcher.egress,
              },
              ...(start.snapshot && { snapshot: start.snapshot }),
            },
            { signal },
          ),
        );
        return await work({ id, guest: host.guest(id) });
      } finally {
        await remove(id).catch((error: unknown) => log.warn("a builder was left", { builderId: id, error }));
        active.delete(id);
      }
    },
  };
}

/** The template that ships with the product. @throws DormouseError `failed_precondition` when there is none. */
export async function baseTemplate(host: HostConnection, signal: AbortSignal): Promise<TemplateInfo> {
  const { templates } = await remote(host.calls.templates.list({}, { signal }));
  const base = templates.find(({ name }) => name === "base");
  if (base) return base;
  throw new DormouseError("failed_precondition", "the host has no template base");
}

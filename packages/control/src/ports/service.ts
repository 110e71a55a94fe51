import { DormouseError } from "@dormouse/base";
import type { ForwardedPort, ListeningPort, PortLink, PortVisibility, SetPort } from "@dormouse/contract";
import type { Actor } from "../accounts/actor.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { WorkspaceService } from "../workspaces/service.ts";
import { addressOf, type OwnedRow } from "../workspaces/view.ts";
import { isWider, knownPort, portNumbers } from "./settings.ts";
import type { PortLinkRow, PortSetting, PortStore } from "./store.ts";

/** What people and programs can do with the ports of their workspaces. */
export interface PortService {
  /** What listens, what the definition names and what was set. Wakes nothing. */
  list(actor: Actor, reference: string): Promise<ForwardedPort[]>;
  /** @throws DormouseError `permission_denied` when the policy lets no port be as visible. */
  set(actor: Actor, reference: string, port: number, patch: SetPort): Promise<ForwardedPort>;
  /** @throws DormouseError `permission_denied` when the policy lets no port be public. */
  createLink(
    actor: Actor,
    reference: string,
    port: number,
    expiresInSeconds: number,
  ): Promise<PortLink & { url: string }>;
  links(actor: Actor, reference: string, port: number): Promise<PortLink[]>;
  /** @throws DormouseError `not_found` when the port has no such link. */
  revokeLink(actor: Actor, reference: string, port: number, id: string): Promise<void>;
}

/** The installation's own word on ports. */
export interface PortPolicy {
  /** `http:` or `https:`. */
  scheme: string;
  /** Null: ports have no origins. */
  domain: string | null;
  maxVisibility: PortVisibility;
}

/** Looking into the kernel's tables takes a machine no longer. */
const listTimeoutMs = 10_000;

/** Makes the {@link PortService}. */
export function createPortService(options: {
  store: PortStore;
  workspaces: Pick<WorkspaceService, "find">;
  host: HostConnection;
  policy: PortPolicy;
}): PortService {
  const { store, workspaces, host, policy } = options;

  async function listening(row: OwnedRow): Promise<ListeningPort[]> {
    if (row.state !== "running") return [];
    const signal = AbortSignal.timeout(listTimeoutMs);
    return (await remote(host.guest(row.id).ports.list({}, { signal }))).ports;
  }

  const shown = (row: OwnedRow, port: number, settings: readonly PortSetting[], all: readonly ListeningPort[]) => {
    const found = all.find((each) => each.port === port);
    return {
      ...knownPort(row, {
        port,
        setting: settings.find((each) => each.port === port),
        maxVisibility: policy.maxVisibility,
      }),
      process: found?.process ?? null,
      pid: found?.pid ?? null,
      address: found?.address ?? null,
      isListening: found !== undefined,
      url: originOf(policy, row, port),
    };
  };

  return {
    async list(actor, reference) {
      const row = await workspaces.find(actor, reference);
      const [settings, all] = await Promise.all([store.settings(row.id), listening(row)]);
      return portNumbers(row, { listening: all, settings }).map((port) => shown(row, port, settings, all));
    },
    async set(actor, reference, port, patch) {
      const row = await workspaces.find(actor, reference);
      if (patch.visibility) checkPolicy(policy, patch.visibility, "visibility");
      const { visibility, label, protocol, isForwarded } = patch;
      const changes = Object.entries({ visibility, label, protocol, isForwarded }).filter(
        ([, value]) => value !== undefined,
      );
      await store.set({ workspaceId: row.id, port }, Object.fromEntries(changes));
      const [settings, all] = await Promise.all([store.settings(row.id), listening(row)]);
      return shown(row, port, settings, all);
    },
    async createLink(actor, reference, port, expiresInSeconds) {
      const row = await workspaces.find(actor, reference);
      checkPolicy(policy, "public", "a link");
      const origin = originOf(policy, row, port);
      if (origin === null) {
        throw new DormouseError("failed_precondition", "this platform has no domain for ports: see `--ports-domain`");
      }
      const expiresAt = new Date(Date.now() + expiresInSeconds * 1000);
      const { token, ...link } = await store.createLink({ workspaceId: row.id, port }, expiresAt);
      return { ...toLink(link), url: `${origin}/.dormouse/link#${token}` };
    },
    async links(actor, reference, port) {
      const { id: workspaceId } = await workspaces.find(actor, reference);
      return (await store.links({ workspaceId, port })).map(toLink);
    },
    async revokeLink(actor, reference, port, id) {
      const { id: workspaceId, name } = await workspaces.find(actor, reference);
      if (await store.removeLink({ workspaceId, port }, id)) return;
      throw new DormouseError("not_found", `port ${port} of workspace ${name} has no link ${JSON.stringify(id)}`);
    },
  };
}

function originOf({ scheme, domain }: PortPolicy, row: OwnedRow, port: number): string | null {
  return domain && `${scheme}//${port}--${addressOf(row)}.${domain}`;
}

function checkPolicy({ maxVisibility }: PortPolicy, wanted: PortVisibility, what: string): void {
  if (!isWider(wanted, maxVisibility)) return;
  throw new DormouseError(
    "permission_denied",
    `${what}: this platform lets ports be ${maxVisibility} at most, not ${wanted}`,
  );
}

function toLink({ id, port, createdAt, expiresAt }: PortLinkRow): PortLink {
  return { id, port, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}

import { DormouseError, KeyedLock, type Logger } from "@dormouse/base";
import type {
  EgressCounters,
  EgressDecision,
  EgressLayer,
  EgressLog,
  egressAttempt,
  WorkspaceEgress,
} from "@dormouse/contract";
import { checkLayer, checkPolicy, decide, parsePolicy } from "@dormouse/network/policy";
import type { z } from "zod";
import { type Actor, actsIn, requirePerson } from "../accounts/actor.ts";
import { type HostConnection, remote } from "../host/client.ts";
import { findOrganisation } from "../organisations/find.ts";
import { requireRole } from "../organisations/service.ts";
import type { Membership, OrganisationStore } from "../organisations/store.ts";
import type { WorkspaceStore } from "../workspaces/store.ts";
import type { OwnedRow } from "../workspaces/view.ts";
import type { EgressPolicies } from "./policies.ts";
import { type EgressStore, type LayerKey, layerKeysOf } from "./store.ts";

/** What people and programs can do with egress. A workspace of somebody else is `not_found`. */
export interface EgressService {
  show(actor: Actor, reference: string): Promise<WorkspaceEgress>;
  /**
   * Replaces the workspace's own layer. When this returns, it holds in its machine.
   * @throws DormouseError `invalid_argument` with the list, the rule and what would be right; `unavailable` when the host is
   *   away: it is kept then, and enforced as soon as the host is back.
   */
  set(actor: Actor, reference: string, layer: EgressLayer): Promise<WorkspaceEgress>;
  allow(actor: Actor, reference: string, rules: readonly string[]): Promise<WorkspaceEgress>;
  deny(actor: Actor, reference: string, rules: readonly string[]): Promise<WorkspaceEgress>;
  log(actor: Actor, reference: string): Promise<EgressLog>;
  test(actor: Actor, reference: string, attempt: z.output<typeof egressAttempt>): Promise<EgressDecision>;
  /** The layer of the installation, an organisation, a template or a repository. */
  layer(actor: Actor, scope: LayerScope): Promise<EgressLayer>;
  /** @throws DormouseError `permission_denied` for who is not the administrator, or an owner or admin of the organisation. */
  setLayer(actor: Actor, scope: LayerScope, layer: EgressLayer): Promise<EgressLayer>;
  /** Tells the host the policies of all that runs, as after its restart. */
  applyAll(): Promise<void>;
}

/** As in `egressScope` of the contract. */
export interface LayerScope {
  scope: "installation" | "organisation" | "template" | "repository";
  name?: string | undefined;
}

/** Makes the {@link EgressService}. */
export function egressService(options: {
  store: EgressStore;
  policies: EgressPolicies;
  workspaces: Pick<WorkspaceStore, "find" | "all" | "byId">;
  organisations: Pick<OrganisationStore, "find">;
  host: HostConnection;
  administratorId: string;
  log: Logger;
}): EgressService {
  const { store, policies, workspaces, organisations, host, administratorId, log } = options;
  /** A layer is read, changed and written by one after the other. */
  const changing = new KeyedLock();

  const organisationOf = (actor: Actor, reference: string) =>
    findOrganisation(organisations, actor, { reference, field: "name" });

  async function find(actor: Actor, reference: string): Promise<OwnedRow> {
    const row = await workspaces.find(actor.userId, reference);
    if (row && actsIn(actor, row.organisationId)) return row;
    throw new DormouseError("not_found", `you have no workspace ${JSON.stringify(reference)}`);
  }

  async function view(row: OwnedRow): Promise<WorkspaceEgress> {
    const [policy, layers] = await Promise.all([policies.of(row), policies.layers(row)]);
    const counters = await countersOf(row);
    const allowed = new Set(policy.allow);
    const proposed = policy.mode === "open" ? [] : (row.definition?.egress ?? []).filter((rule) => !allowed.has(rule));
    const plain = ({ mode, allow, deny, cap }: (typeof layers)["workspace"]): EgressLayer => ({
      ...(mode && { mode }),
      ...(allow && { allow: [...allow] }),
      ...(deny && { deny: [...deny] }),
      ...(cap && { cap: [...cap] }),
    });
    const { installation, organisation, template, repository, workspace } = layers;
    const shown = {
      installation: plain(installation),
      organisation: plain(organisation),
      template: plain(template),
      repository: plain(repository),
      workspace: plain(workspace),
    };
    return { policy, layers: shown, proposed, counters };
  }

  async function countersOf({ id, state }: OwnedRow): Promise<EgressCounters | null> {
    if (state !== "running") return null;
    const { counters } = await remote(host.calls.egress.log({ workspaceId: id })).catch((error: unknown) => {
      // What may leave is worth knowing without what has left.
      log.debug("no counters", { workspaceId: id, error });
      return { counters: null };
    });
    return counters;
  }

  /** A machine that is not there now is given its policy when it starts. */
  async function apply(row: OwnedRow): Promise<void> {
    if (row.state === "deleting" || row.state === "failed") return;
    const policy = await policies.of(row);
    await remote(host.calls.egress.set({ workspaceId: row.id, policy })).catch((error: unknown) => {
      if (DormouseError.from(error).code !== "not_found") throw error;
    });
  }

  /** Kept only when all of it can be enforced. */
  async function change(row: OwnedRow, edit: (layer: EgressLayer) => EgressLayer): Promise<WorkspaceEgress> {
    const key: LayerKey = { scope: "workspace", name: row.id };
    await changing.run(row.id, async () => {
      const before = await store.get(key);
      const next = edit(before);
      checkLayer(next);
      await store.set(key, next);
      try {
        checkPolicy(await policies.of(row));
        await apply(row);
      } catch (error) {
        if (DormouseError.from(error).code === "invalid_argument") await store.set(key, before);
        throw error;
      }
    });
    log.info("egress of a workspace changed", { workspaceId: row.id });
    return await view(row);
  }

  async function applyTo(isConcerned: (row: OwnedRow) => boolean): Promise<void> {
    for (const { id } of await workspaces.all()) {
      const row = await workspaces.byId(id);
      if (row && isConcerned(row)) await apply(row);
    }
  }

  return {
    show: async (actor, reference) => view(await find(actor, reference)),
    set: async (actor, reference, layer) => change(await find(actor, reference), () => layer),
    allow: async (actor, reference, rules) =>
      change(await find(actor, reference), (layer) => ({
        ...layer,
        allow: union(layer.allow, rules),
        // What is allowed now was perhaps denied here before; a deny of another layer stays.
        ...(layer.deny && { deny: layer.deny.filter((rule) => !rules.includes(rule)) }),
      })),
    deny: async (actor, reference, rules) =>
      change(await find(actor, reference), (layer) => ({
        ...layer,
        deny: union(layer.deny, rules),
        ...(layer.allow && { allow: layer.allow.filter((rule) => !rules.includes(rule)) }),
      })),
    async log(actor, reference) {
      const { id } = await find(actor, reference);
      return await remote(host.calls.egress.log({ workspaceId: id })).catch((error: unknown) => {
        // A workspace without a machine has nothing to tell.
        if (DormouseError.from(error).code !== "not_found") throw error;
        return { refusals: [], hours: [], counters: null };
      });
    },
    async test(actor, reference, attempt) {
      const row = await find(actor, reference);
      if (row.state === "running") return await remote(host.calls.egress.test({ workspaceId: row.id, ...attempt }));
      // Asleep: what the rules say, without asking what the name means.
      const { host: name, port, protocol } = attempt;
      return decide(parsePolicy(await policies.of(row)), attemptOf(name, port, protocol));
    },
    async layer(actor, scope) {
      const key = layerKey(scope);
      return await store.get(
        key.scope === "organisation" ? ofOrganisation(await organisationOf(actor, key.name)) : key,
      );
    },
    async setLayer(actor, scope, layer) {
      let key = layerKey(scope);
      if (key.scope === "organisation") {
        const organisation = await organisationOf(actor, key.name);
        requireRole(organisation, "change what may leave its workspaces", ["owner", "admin"]);
        key = ofOrganisation(organisation);
      } else if (requirePerson(actor).userId !== administratorId) {
        throw new DormouseError("permission_denied", `egress of the ${scope.scope} is for the administrator to change`);
      }
      checkLayer(layer);
      await changing.run(`${key.scope} ${key.name}`, async () => {
        await store.set(key, layer);
        await applyTo((row) => layerKeysOf(row).some(({ scope, name }) => scope === key.scope && name === key.name));
      });
      log.info("egress changed", { ...key });
      return layer;
    },
    applyAll: () => applyTo(({ state }) => state !== "hibernated"),
  };
}

function layerKey({ scope, name }: LayerScope): LayerKey {
  if (scope === "installation") return { scope, name: "" };
  if (name !== undefined) return { scope, name };
  const what = { organisation: "an organisation needs its name", template: "a template needs its name" };
  throw new DormouseError(
    "invalid_argument",
    `name: egress of ${scope === "repository" ? "a repository needs its address" : what[scope]}`,
  );
}

const ofOrganisation = ({ id }: Membership): LayerKey => ({ scope: "organisation", name: id });

function attemptOf(host: string, port: number, protocol: "web" | "tcp" | "udp") {
  const address = addressOf(host);
  if (address === undefined) return { protocol, name: host.toLowerCase(), port };
  return { protocol: protocol === "web" ? ("tcp" as const) : protocol, address, port };
}

function addressOf(host: string): number | undefined {
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(host)) return undefined;
  return host.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

function union(known: readonly string[] = [], more: readonly string[]): string[] {
  return [...new Set([...known, ...more])];
}

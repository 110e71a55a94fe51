import { createId, DormouseError, KeyedLock, type Logger } from "@dormouse/base";
import { limits, type SecretInfo, type setSecret } from "@dormouse/contract";
import { decide, normalHost, parsePolicy } from "@dormouse/network/policy";
import type { z } from "zod";
import type { Actor } from "../accounts/actor.ts";
import type { EgressPolicies } from "../egress/policies.ts";
import { type HostConnection, remote } from "../host/client.ts";
import { findOrganisation } from "../organisations/find.ts";
import { requireRole } from "../organisations/service.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import { parseRepositoryUrl } from "../workspaces/repository-url.ts";
import type { WorkspaceStore } from "../workspaces/store.ts";
import type { OwnedRow } from "../workspaces/view.ts";
import { concerns, type WorkspaceSecrets } from "./of-workspace.ts";
import type { Seal } from "./seal.ts";
import type { SecretRow, SecretStore } from "./store.ts";

/** What people and programs can do with secrets. What somebody is not in is `not_found`. */
export interface SecretService {
  list(actor: Actor, organisation: string): Promise<SecretInfo[]>;
  /**
   * Sets a secret. When this returns, it holds in the machines that it is about.
   * @throws DormouseError `invalid_argument` with the field and what would be right, `permission_denied` for a member,
   *   `resource_exhausted`; `unavailable` when the host is away: it is kept then, and holds as soon as the host is back.
   */
  set(actor: Actor, organisation: string, name: string, request: z.output<typeof setSecret>): Promise<SecretInfo>;
  remove(actor: Actor, organisation: string, name: string): Promise<void>;
  /** Tells the host the secrets of all that runs, as after its restart. */
  applyAll(): Promise<void>;
}

/** Machines that are told at the same time. */
const parallelMachines = 8;

/** Makes the {@link SecretService}. */
export function secretService(options: {
  store: SecretStore;
  ofWorkspace: WorkspaceSecrets;
  seal: Seal;
  policies: Pick<EgressPolicies, "of">;
  workspaces: Pick<WorkspaceStore, "all" | "byId">;
  organisations: Pick<OrganisationStore, "find" | "personal">;
  host: HostConnection;
  log: Logger;
}): SecretService {
  const { store, ofWorkspace, seal, policies, workspaces, organisations, host, log } = options;
  const changing = new KeyedLock();

  const find = (actor: Actor, reference: string) =>
    findOrganisation(organisations, actor, { reference, field: "organisation" });
  async function findManaged(actor: Actor, reference: string) {
    const found = await find(actor, reference);
    requireRole(found, "change its secrets", ["owner", "admin"]);
    return found;
  }

  /** Workspaces that run and have secrets of an organisation. */
  async function concerned(organisationId: string): Promise<OwnedRow[]> {
    const personal = new Map<string, string>();
    const found: OwnedRow[] = [];
    for (const row of await awake()) {
      const own = personal.get(row.ownerId) ?? (await organisations.personal(row.ownerId)).id;
      personal.set(row.ownerId, own);
      if (row.organisationId === organisationId || own === organisationId) found.push(row);
    }
    return found;
  }

  /** Workspaces that have a machine, or will have one in a moment. */
  async function awake(): Promise<OwnedRow[]> {
    const rows: OwnedRow[] = [];
    for (const { id } of await workspaces.all()) {
      const row = await workspaces.byId(id);
      if (row && !["hibernated", "deleting", "failed"].includes(row.state)) rows.push(row);
    }
    return rows;
  }

  /** A machine that is not there now is told when it starts. */
  async function apply(seen: OwnedRow): Promise<void> {
    // As it is now: one that is being set up is another than a moment ago.
    const row = (await workspaces.byId(seen.id)) ?? seen;
    const now = await ofWorkspace.ofMachine(row);
    await remote(host.calls.secrets.set({ workspaceId: row.id, ...now })).catch((error: unknown) => {
      if (DormouseError.from(error).code !== "not_found") throw error;
    });
  }

  /** All are told, also when one of them cannot be. */
  async function applyTo(rows: readonly OwnedRow[]): Promise<void> {
    const failures: unknown[] = [];
    const left = [...rows];
    const work = async () => {
      for (let row = left.pop(); row; row = left.pop())
        await apply(row).catch((error: unknown) => failures.push(error));
    };
    await Promise.all(Array.from({ length: parallelMachines }, work));
    if (failures.length > 0) throw DormouseError.from(failures[0]);
  }

  /** Where it may go and nothing lets it. */
  async function notesOf(row: SecretRow, rows: readonly OwnedRow[]): Promise<string[]> {
    const notes: string[] = [];
    for (const workspace of rows.filter(({ repository }) => concerns(row, repository))) {
      const policy = parsePolicy(await policies.of(workspace));
      for (const host of row.hosts) {
        const name = host.replace(/^\*/, "any");
        const isAllowed = [443, 80].some((port) => decide(policy, { protocol: "web", name, port }).isAllowed);
        if (!isAllowed)
          notes.push(
            `workspace ${workspace.name} may not reach ${host}: dormouse egress allow ${workspace.name} ${host}`,
          );
      }
    }
    return notes;
  }

  const view = (row: SecretRow, notes: string[] = []): SecretInfo => ({
    name: row.name,
    hosts: row.hosts,
    repositories: row.repositories,
    insecure: row.isInsecure,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    notes,
  });

  return {
    async list(actor, reference) {
      const { id } = await find(actor, reference);
      return (await store.list(id)).map((row) => view(row));
    },
    async set(actor, reference, name, request) {
      const { id: organisationId } = await findManaged(actor, reference);
      const hosts = [...new Set(request.hosts.map((host) => normalHost(host, "hosts")))];
      const repositories = request.repositories?.map((address) => parseRepositoryUrl(address).url) ?? null;
      return await changing.run(organisationId, async () => {
        const known = await store.find(organisationId, name);
        if (!known && (await store.count(organisationId)) >= limits.secrets) {
          throw new DormouseError("resource_exhausted", `an organisation has at most ${limits.secrets} secrets`);
        }
        const id = known?.id ?? createId("sec");
        const sealed = seal.seal(request.value, { organisationId, secretId: id });
        const { insecure: isInsecure } = request;
        const row = await store.save({ id, organisationId, name, hosts, repositories, isInsecure, sealed });
        const rows = await concerned(organisationId);
        await applyTo(rows);
        log.info("secret set", { organisationId, name, hosts });
        return view(row, await notesOf(row, rows));
      });
    },
    async remove(actor, reference, name) {
      const organisation = await findManaged(actor, reference);
      await changing.run(organisation.id, async () => {
        if (!(await store.remove(organisation.id, name))) {
          throw new DormouseError("not_found", `organisation ${organisation.name} has no secret ${name}`);
        }
        await applyTo(await concerned(organisation.id));
        log.info("secret removed", { organisationId: organisation.id, name });
      });
    },
    async applyAll() {
      await applyTo(await awake()).catch((error: unknown) => {
        // A host that is away is asked again; a single machine must not keep the others' news back.
        if (DormouseError.from(error).code === "unavailable") throw error;
        log.warn("a machine was not told its secrets", { error });
      });
    },
  };
}

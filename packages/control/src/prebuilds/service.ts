import { DormouseError } from "@dormouse/base";
import type { createPrebuild, Prebuild } from "@dormouse/contract";
import type { z } from "zod";
import { type Actor, actsIn } from "../accounts/actor.ts";
import type { SetUpLogs } from "../definitions/set-up-logs.ts";
import { findOrganisation } from "../organisations/find.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import type { TemplateBaker } from "../templates/bake.ts";
import type { TemplateStore } from "../templates/store.ts";
import { checkRef, parseRepositoryUrl } from "../workspaces/repository-url.ts";
import { prebuildTemplate } from "./find.ts";
import { hookSecret, isSigned } from "./hook.ts";
import { type NamedPrebuildRow, type PrebuildRow, type PrebuildStore, plainRef } from "./store.ts";

/** Repositories whose workspaces are set up ahead. Somebody else's are `not_found`. */
export interface PrebuildService {
  /**
   * Has one made, now or after those that wait already. From then on its repository is prebuilt by the triggers that its
   * definition has, until it is deleted. A password in the address is used once and kept nowhere.
   */
  run(actor: Actor, request: z.output<typeof createPrebuild>): Promise<Prebuild>;
  list(actor: Actor): Promise<Prebuild[]>;
  get(actor: Actor, id: string): Promise<Prebuild>;
  /** What the last one wrote. */
  logs(actor: Actor, id: string): Promise<string>;
  /** The path to be called by its git server, and what it signs its calls with. */
  hook(actor: Actor, id: string): Promise<{ path: string; secret: string }>;
  /** With what it is a template of; workspaces that exist are not touched. */
  delete(actor: Actor, id: string): Promise<void>;
  /**
   * A git server says that something has changed. What it says is not believed: the repository is looked at.
   * @throws DormouseError `not_found` unless the call is signed with the prebuild's secret.
   */
  notify(id: string, call: { body: Buffer; signature: string | undefined }): Promise<void>;
  /** Somebody is not in an organisation any more: what they had prebuilt there goes. */
  withdraw(organisationId: string, ownerId: string): Promise<void>;
  /** The address that was given with a password for the one that is made next. */
  takeAddress(id: string): string | undefined;
  /** What it is a template of. */
  drop(row: PrebuildRow): Promise<void>;
}

/** Nobody needs more, and each is looked at and kept. */
const mostOfOne = 100;

/** Makes the {@link PrebuildService}. */
export function prebuildService(options: {
  store: PrebuildStore;
  templates: TemplateStore;
  baker: Pick<TemplateBaker, "drop">;
  organisations: Pick<OrganisationStore, "find">;
  logs: SetUpLogs;
  /** Of the installation; the secrets of hooks come from it. */
  secret: string;
}): PrebuildService {
  const { store, templates, baker, organisations, logs, secret } = options;
  const addresses = new Map<string, string>();

  async function find(actor: Actor, id: string): Promise<NamedPrebuildRow> {
    const row = await store.byId(id);
    const isTheirs = row?.ownerId === actor.userId && actsIn(actor, row.organisationId);
    if (isTheirs && (await organisations.find(actor.userId, row.organisationId))) return row;
    throw new DormouseError("not_found", `you have no prebuild ${JSON.stringify(id)}`);
  }

  async function drop({ id }: PrebuildRow) {
    for (const version of await templates.versions(prebuildTemplate(id))) await baker.drop(version);
  }

  async function remove(row: PrebuildRow) {
    // The rows first: whatever is being made for them finds out that it is nobody's.
    const rows = [row, ...(await store.children(row.id))];
    await store.remove(row.id);
    for (const each of rows) {
      addresses.delete(each.id);
      await drop(each);
      await logs.remove(each.id);
    }
  }

  return {
    async run(actor, { repository: address, ref, devcontainer, organisation: reference }) {
      const ownerId = actor.userId;
      const { url: repository, credential } = parseRepositoryUrl(address);
      if (ref !== undefined) checkRef(ref);
      const organisation = await findOrganisation(organisations, actor, { reference, field: "organisation" });
      const whose = { ownerId, organisationId: organisation.id };
      const key = { ...whose, repository, ref: plainRef(ref ?? null), devcontainer: devcontainer ?? null };
      const known = await store.list(ownerId);
      if (known.length >= mostOfOne) {
        throw new DormouseError(
          "resource_exhausted",
          `you have ${known.length} prebuilds: delete one that is not needed`,
        );
      }
      const row = await store.ensure(key);
      if (credential) addresses.set(row.id, address);
      await store.want(row.id, "it was asked for");
      return toPrebuild((await store.byId(row.id)) ?? { ...row, organisation: organisation.name });
    },
    list: async (actor) =>
      (await store.list(actor.userId)).filter((row) => actsIn(actor, row.organisationId)).map(toPrebuild),
    get: async (actor, id) => toPrebuild(await find(actor, id)),
    async logs(actor, id) {
      const row = await find(actor, id);
      return await logs.read(row.workspaceId ?? row.id);
    },
    async hook(actor, id) {
      const row = await find(actor, id);
      return { path: `/api/prebuilds/${row.id}/hook`, secret: hookSecret(secret, row.id) };
    },
    async delete(actor, id) {
      await remove(await find(actor, id));
    },
    async withdraw(organisationId, ownerId) {
      for (const row of await store.of({ organisationId, ownerId })) await remove(row);
    },
    async notify(id, { body, signature }) {
      const isOurs = isSigned(body, signature, hookSecret(secret, id));
      const row = isOurs ? await store.byId(id) : undefined;
      if (!row)
        throw new DormouseError("not_found", "there is no such hook, or the call is not signed with its secret");
      await store.patch(row.id, { lookedAt: null });
    },
    takeAddress(id) {
      const address = addresses.get(id);
      addresses.delete(id);
      return address;
    },
    drop,
  };
}

/** What the API shows of one. */
function toPrebuild(row: NamedPrebuildRow): Prebuild {
  const {
    id,
    organisation,
    repository,
    ref,
    devcontainer,
    parentId,
    triggers,
    ttlSeconds,
    building,
    wanted,
    commit,
    problem,
  } = row;
  const iso = (date: Date | null) => date?.toISOString() ?? null;
  const state =
    building !== null
      ? "building"
      : wanted !== null
        ? "waiting"
        : problem !== null
          ? "failed"
          : commit !== null
            ? "ready"
            : "expired";
  const expiresAt =
    row.builtAt && ttlSeconds !== null ? new Date(row.builtAt.getTime() + ttlSeconds * 1000).toISOString() : null;
  return {
    ...{
      id,
      organisation,
      repository,
      ref,
      devcontainer,
      parentId,
      state,
      reason: building ?? wanted,
      commit,
      problem,
      triggers,
    },
    ...{ builtAt: iso(row.builtAt), endedAt: iso(row.endedAt), nextAt: iso(row.nextAt), expiresAt },
  };
}

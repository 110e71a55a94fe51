import { DormouseError } from "@dormouse/base";
import { apiContract, convertRpcErrors, type HostCapacity } from "@dormouse/contract";
import { implement } from "@orpc/server";
import { type Actor, requirePerson } from "../accounts/actor.ts";
import type { ApiKeys } from "../accounts/api-keys.ts";
import type { People } from "../accounts/people.ts";
import type { PersonalSetups } from "../accounts/personal-setups.ts";
import type { EgressService } from "../egress/service.ts";
import type { Gallery } from "../extensions/gallery.ts";
import { noGallery } from "../extensions/routes.ts";
import type { ExtensionService } from "../extensions/service.ts";
import type { OrganisationService } from "../organisations/service.ts";
import type { PortService } from "../ports/service.ts";
import type { PrebuildService } from "../prebuilds/service.ts";
import type { SecretService } from "../secrets/service.ts";
import type { TemplateBaker } from "../templates/bake.ts";
import type { TemplateCatalogue } from "../templates/catalogue.ts";
import type { Quota } from "../workspaces/quota.ts";
import type { WorkspaceService } from "../workspaces/service.ts";

/** Of a caller who cannot go away. */
const never = new AbortController().signal;

/** What the public API is made of. */
export interface ApiServices {
  workspaces: WorkspaceService;
  ports: PortService;
  templates: TemplateCatalogue;
  baker: TemplateBaker;
  prebuilds: PrebuildService;
  egress: EgressService;
  secrets: SecretService;
  organisations: OrganisationService;
  apiKeys: ApiKeys;
  people: People;
  personalSetups: PersonalSetups;
  extensions: ExtensionService;
  /** Undefined: none is set. */
  gallery: Gallery | undefined;
  quota: Quota;
  capacity(): Promise<HostCapacity>;
}

/** The public API; every procedure is called with the {@link Actor} that was authenticated. */
export function apiRouter({
  workspaces,
  ports,
  templates,
  baker,
  prebuilds,
  egress,
  secrets,
  organisations,
  apiKeys,
  people,
  personalSetups,
  extensions,
  gallery,
  quota,
  capacity,
}: ApiServices) {
  const api = implement(apiContract)
    .$context<{ actor: Actor }>()
    .use(({ next }) => convertRpcErrors(() => next()));
  const { workspaces: w, organisations: o, apiKeys: k, egress: e, me } = api;
  return api.router({
    workspaces: {
      create: w.create.handler(({ context, input, signal }) => workspaces.create(context.actor, input, signal)),
      list: w.list.handler(async ({ context, input }) => ({
        workspaces: await workspaces.list(context.actor, input.organisation),
      })),
      get: w.get.handler(({ context, input }) => workspaces.get(context.actor, input.workspace)),
      update: w.update.handler(({ context, input: { workspace, ...patch } }) =>
        workspaces.update(context.actor, workspace, patch),
      ),
      delete: w.delete.handler(async ({ context, input }) => {
        await workspaces.delete(context.actor, input.workspace);
        return {};
      }),
      unpushed: w.unpushed.handler(async ({ context, input }) => ({
        work: await workspaces.unpushed(context.actor, input.workspace),
      })),
      hibernate: w.hibernate.handler(({ context, input }) => workspaces.hibernate(context.actor, input.workspace)),
      wake: w.wake.handler(({ context, input }) => workspaces.wake(context.actor, input.workspace)),
      fork: w.fork.handler(({ context, input: { workspace, ...request } }) =>
        workspaces.fork(context.actor, workspace, request),
      ),
      restore: w.restore.handler(({ context, input }) =>
        workspaces.restore(context.actor, input.workspace, input.snapshot),
      ),
      rebuild: w.rebuild.handler(({ context, input: { workspace, ...request } }) =>
        workspaces.rebuild(context.actor, workspace, request),
      ),
      attach: w.attach.handler(({ context, input }) => workspaces.attach(context.actor, input.workspace)),
      lockFeatures: w.lockFeatures.handler(({ context, input: { workspace, ...request }, signal }) =>
        workspaces.lockFeatures(context.actor, workspace, request, signal),
      ),
      exec: w.exec.handler(({ context, input: { workspace, ...request }, signal }) =>
        workspaces.exec(context.actor, workspace, request, signal),
      ),
      logs: w.logs.handler(async ({ context, input }) => {
        const { transitions, ...texts } = await workspaces.logs(context.actor, input.workspace);
        return { ...texts, transitions: transitions.map((entry) => ({ ...entry, at: entry.at.toISOString() })) };
      }),
      serviceLog: w.serviceLog.handler(async ({ context, input: { workspace, service }, signal }) => ({
        text: await workspaces.serviceLog(context.actor, workspace, service, signal),
      })),
      events: w.events.handler(({ context, input, signal }) =>
        workspaces.events(context.actor, input.workspace, signal),
      ),
    },
    snapshots: {
      create: api.snapshots.create.handler(({ context, input }) =>
        workspaces.snapshot(context.actor, input.workspace, input.name),
      ),
      list: api.snapshots.list.handler(async ({ context, input }) => ({
        snapshots: await workspaces.snapshots(context.actor, input.workspace),
      })),
      delete: api.snapshots.delete.handler(async ({ context, input }) => {
        await workspaces.deleteSnapshot(context.actor, input.workspace, input.snapshot);
        return {};
      }),
    },
    ports: {
      list: api.ports.list.handler(async ({ context, input }) => ({
        ports: await ports.list(context.actor, input.workspace),
      })),
      set: api.ports.set.handler(({ context, input: { workspace, port, ...patch } }) =>
        ports.set(context.actor, workspace, port, patch),
      ),
      createLink: api.ports.createLink.handler(({ context, input }) =>
        ports.createLink(context.actor, input.workspace, input.port, input.expiresInSeconds),
      ),
      links: api.ports.links.handler(async ({ context, input }) => ({
        links: await ports.links(context.actor, input.workspace, input.port),
      })),
      revokeLink: api.ports.revokeLink.handler(async ({ context, input }) => {
        await ports.revokeLink(context.actor, input.workspace, input.port, input.id);
        return {};
      }),
    },
    templates: {
      list: api.templates.list.handler(async ({ context }) => ({
        templates: await templates.list(context.actor),
      })),
      get: api.templates.get.handler(async ({ context, input }) => ({
        versions: await templates.versions(context.actor, input.template),
      })),
      create: api.templates.create.handler(({ context, input }) => baker.bake(context.actor, input)),
      delete: api.templates.delete.handler(async ({ context, input }) => {
        await baker.remove(context.actor, input.template);
        return {};
      }),
      deleteVersion: api.templates.deleteVersion.handler(async ({ context, input }) => {
        await baker.remove(context.actor, input.template, input.version);
        return {};
      }),
    },
    prebuilds: {
      run: api.prebuilds.run.handler(({ context, input }) => prebuilds.run(context.actor, input)),
      list: api.prebuilds.list.handler(async ({ context }) => ({ prebuilds: await prebuilds.list(context.actor) })),
      get: api.prebuilds.get.handler(({ context, input }) => prebuilds.get(context.actor, input.prebuild)),
      logs: api.prebuilds.logs.handler(async ({ context, input }) => ({
        text: await prebuilds.logs(context.actor, input.prebuild),
      })),
      hook: api.prebuilds.hook.handler(({ context, input }) => prebuilds.hook(context.actor, input.prebuild)),
      delete: api.prebuilds.delete.handler(async ({ context, input }) => {
        await prebuilds.delete(context.actor, input.prebuild);
        return {};
      }),
    },
    egress: {
      show: e.show.handler(({ context, input }) => egress.show(context.actor, input.workspace)),
      set: e.set.handler(({ context, input: { workspace, ...layer } }) => egress.set(context.actor, workspace, layer)),
      allow: e.allow.handler(({ context, input }) => egress.allow(context.actor, input.workspace, input.rules)),
      deny: e.deny.handler(({ context, input }) => egress.deny(context.actor, input.workspace, input.rules)),
      log: e.log.handler(({ context, input }) => egress.log(context.actor, input.workspace)),
      test: e.test.handler(({ context, input: { workspace, ...attempt } }) =>
        egress.test(context.actor, workspace, attempt),
      ),
      layer: e.layer.handler(({ context, input }) => egress.layer(context.actor, input)),
      setLayer: e.setLayer.handler(({ context, input: { layer, ...scope } }) =>
        egress.setLayer(context.actor, scope, layer),
      ),
    },
    secrets: {
      list: api.secrets.list.handler(async ({ context, input }) => ({
        secrets: await secrets.list(context.actor, input.organisation),
      })),
      set: api.secrets.set.handler(({ context, input: { organisation, name, ...request } }) =>
        secrets.set(context.actor, organisation, name, request),
      ),
      remove: api.secrets.remove.handler(async ({ context, input }) => {
        await secrets.remove(context.actor, input.organisation, input.name);
        return {};
      }),
    },
    organisations: {
      list: o.list.handler(async ({ context }) => ({ organisations: await organisations.list(context.actor) })),
      create: o.create.handler(({ context, input }) => organisations.create(context.actor, input.name)),
      get: o.get.handler(({ context, input }) => organisations.get(context.actor, input.organisation)),
      rename: o.rename.handler(({ context, input }) =>
        organisations.rename(context.actor, input.organisation, input.name),
      ),
      delete: o.delete.handler(async ({ context, input }) => {
        await organisations.delete(context.actor, input.organisation);
        return {};
      }),
      members: o.members.handler(async ({ context, input }) => ({
        members: await organisations.members(context.actor, input.organisation),
      })),
      setRole: o.setRole.handler(({ context, input: { organisation, member, role } }) =>
        organisations.setRole(context.actor, organisation, member, role),
      ),
      removeMember: o.removeMember.handler(async ({ context, input }) => {
        await organisations.removeMember(context.actor, input.organisation, input.member);
        return {};
      }),
      invite: o.invite.handler(({ context, input: { organisation, ...request } }) =>
        organisations.invite(context.actor, organisation, request),
      ),
      invitations: o.invitations.handler(async ({ context, input }) => ({
        invitations: await organisations.invitations(context.actor, input.organisation),
      })),
      revokeInvitation: o.revokeInvitation.handler(async ({ context, input }) => {
        await organisations.revokeInvitation(context.actor, input.organisation, input.id);
        return {};
      }),
      join: o.join.handler(({ context, input }) => organisations.join(context.actor, input.token)),
      quota: o.quota.handler(({ context, input }) => organisations.quota(context.actor, input.organisation)),
      setQuota: o.setQuota.handler(({ context, input: { organisation, ...limits } }) =>
        organisations.setQuota(context.actor, organisation, limits),
      ),
      usage: o.usage.handler(async ({ context, input }) => ({
        people: await organisations.usage(context.actor, input.organisation),
      })),
    },
    apiKeys: {
      create: k.create.handler(async ({ context: { actor }, input: { organisation: reference, ...request } }) => {
        const { userId } = requirePerson(actor);
        if (reference === undefined) return await apiKeys.create(userId, request);
        const { id, name } = await organisations.get(actor, reference);
        return await apiKeys.create(userId, { ...request, organisation: { id, name } });
      }),
      list: k.list.handler(async ({ context }) => ({
        apiKeys: await apiKeys.list(requirePerson(context.actor).userId),
      })),
      delete: k.delete.handler(async ({ context, input }) => {
        await apiKeys.revoke(requirePerson(context.actor).userId, input.id);
        return {};
      }),
    },
    me: {
      get: me.get.handler(({ context: { actor } }) => ({ id: actor.userId, name: actor.name, email: actor.email })),
      quota: me.quota.handler(async ({ context: { actor } }) => {
        const all = await organisations.list(actor);
        const each = all.map(async ({ id, name }) => ({ name, ...(await quota.ofOrganisation(id)) }));
        return { ...(await quota.of(actor.userId)), organisations: await Promise.all(each) };
      }),
      settings: me.settings.handler(({ context }) => people.settings(context.actor.userId)),
      saveSettings: me.saveSettings.handler(({ context, input }) =>
        people.saveSettings(requirePerson(context.actor).userId, input),
      ),
      extensions: me.extensions.handler(async ({ context }) => ({
        gallery: gallery !== undefined,
        extensions: await extensions.list(context.actor.userId),
      })),
      installExtension: me.installExtension.handler(async ({ context, input, signal = never }) => {
        const { userId } = requirePerson(context.actor);
        const { identifier, version, metadata } = input;
        if (!gallery) throw new DormouseError("failed_precondition", noGallery);
        const content = await gallery.download(identifier, version, signal);
        return extensions.install(userId, { source: "gallery", content, metadata });
      }),
      saveExtension: me.saveExtension.handler(({ context, input: { id, metadata } }) =>
        extensions.saveMetadata(requirePerson(context.actor).userId, id, metadata),
      ),
      removeExtension: me.removeExtension.handler(async ({ context, input }) => {
        await extensions.remove(requirePerson(context.actor).userId, input.id);
        return {};
      }),
      setup: me.setup.handler(({ context }) => personalSetups.of(context.actor.userId)),
      saveSetup: me.saveSetup.handler(({ context, input }) =>
        personalSetups.save(requirePerson(context.actor).userId, input),
      ),
      setPassword: me.setPassword.handler(async ({ context, input }) => {
        await people.setPassword(requirePerson(context.actor).userId, input);
        return {};
      }),
    },
    hosts: { capacity: api.hosts.capacity.handler(() => capacity()) },
  });
}

/** The router's type. */
export type ApiRouter = ReturnType<typeof apiRouter>;

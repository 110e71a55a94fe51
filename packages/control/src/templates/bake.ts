import { DormouseError, type Logger } from "@dormouse/base";
import type { Template } from "@dormouse/contract";
import { type Actor, actsIn } from "../accounts/actor.ts";
import { openDefinition } from "../definitions/definition.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import type { WorkspaceService } from "../workspaces/service.ts";
import { toTemplate } from "./catalogue.ts";
import type { TemplateRow, TemplateStore } from "./store.ts";

/** Makes templates of workspaces, and removes them. */
export interface TemplateBaker {
  /**
   * Makes a running workspace the next version of a template and deletes it. Its machine is booted anew first: nothing that
   * was in its memory, such as a password that a git server was shown, is in the template.
   * It is a template of the workspace's organisation.
   * @throws DormouseError `failed_precondition` for a workspace that was created with an environment or that has somebody's
   *   personal set-up in it, `permission_denied` for somebody else's template, `already_exists` for another organisation's.
   */
  bake(actor: Actor, request: { name: string; workspace: string }): Promise<Template>;
  /** All versions, or one; for who baked them, and owners and admins of their organisation. @throws DormouseError `not_found`, `permission_denied`. */
  remove(actor: Actor, name: string, version?: number): Promise<void>;
  /** A version that nobody starts from any more, with its snapshot. */
  drop(version: Pick<TemplateRow, "name" | "version" | "workspaceId" | "snapshotId">): Promise<void>;
}

/** The {@link TemplateBaker} on a host. */
export function templateBaker(options: {
  store: TemplateStore;
  host: HostConnection;
  workspaces: Pick<WorkspaceService, "running" | "delete" | "keepImpersonal">;
  organisations: Pick<OrganisationStore, "find">;
  log: Logger;
}): TemplateBaker {
  const { store, host, workspaces, organisations, log } = options;

  /** All versions of one are of the same organisation. */
  async function find(actor: Actor, name: string) {
    const versions = await store.versions(name);
    const [newest] = versions;
    const found = newest && (await organisations.find(actor.userId, newest.organisationId));
    const organisation = found && actsIn(actor, found.id) ? found : undefined;
    return { versions, organisation, isOthers: newest !== undefined && organisation === undefined };
  }

  function checkOwner(actor: Actor, name: string, versions: readonly TemplateRow[]) {
    const other = versions.find(({ ownerId }) => ownerId !== actor.userId);
    if (other) throw new DormouseError("permission_denied", `template ${name} is ${other.owner}'s`);
  }

  return {
    async bake(actor, { name, workspace }) {
      if (name === "base") {
        throw new DormouseError(
          "invalid_argument",
          "name is base: that template ships with the product; choose another name",
        );
      }
      const { versions, organisation, isOthers } = await find(actor, name);
      if (!isOthers) checkOwner(actor, name, versions);
      const row = await workspaces.running(actor, workspace);
      if (isOthers || (organisation && organisation.id !== row.organisationId)) {
        const message = `name is ${name}: another organisation has a template of that name; choose another name`;
        throw new DormouseError("already_exists", message);
      }
      const variables = Object.keys(row.env);
      if (variables.length > 0) {
        throw new DormouseError(
          "failed_precondition",
          `workspace ${row.name} was created with an environment (${variables.join(", ")}), which may hold secrets: ` +
            "bake from one without; the workspaces that start from the template are given theirs",
        );
      }
      if (!(await workspaces.keepImpersonal(row))) {
        throw new DormouseError(
          "failed_precondition",
          `workspace ${row.name} has your personal set-up in it (dotfiles, shell or git identity): bake from one that was ` +
            "created as a prebuild; whoever starts from the template is given their own",
        );
      }
      const { id: workspaceId, generation, vcpus, memoryMib, diskGib, repository, ref, folder } = row;
      await remote(host.calls.machines.restart({ workspaceId, generation }));
      const taken = { workspaceId, generation, reason: "fork" as const, name: `template ${name}` };
      const snapshot = await remote(host.calls.machines.snapshot(taken));
      const before = row.definition ?? openDefinition(false);
      const definition = {
        ...before,
        stage: "decided" as const,
        start: {
          template: before.start?.template ?? row.template,
          snapshot: { workspaceId, id: snapshot.id },
          resources: { vcpus, memoryMib, diskGib },
        },
        hasRepository: repository !== null,
        isPrebuild: false,
        carried: false,
        // Its machine is booted: nothing of them runs in what starts from it.
        done: before.done.filter((step) => step !== "entrypoints"),
        attached: null,
      };
      const whose = { ownerId: actor.userId, organisationId: row.organisationId };
      const template = { name, ...whose, workspaceId, snapshotId: snapshot.id };
      const version = await store.add({ ...template, definition, repository, ref, folder });
      await workspaces.delete(actor, workspaceId);
      await dropOthers(workspaceId, snapshot.id);
      log.info("template baked", { template: name, version, workspaceId });
      const made = (await store.versions(name)).find((candidate) => candidate.version === version);
      if (!made) throw new DormouseError("aborted", `template ${name} was deleted meanwhile`);
      return toTemplate(made);
    },
    async remove(actor, name, version) {
      const { versions, organisation, isOthers } = await find(actor, name);
      if (!isOthers && organisation?.role !== "owner" && organisation?.role !== "admin") {
        checkOwner(actor, name, versions);
      }
      const chosen = (isOthers ? [] : versions).filter((row) => version === undefined || row.version === version);
      if (chosen.length === 0) {
        const what =
          version === undefined ? `template ${JSON.stringify(name)}` : `version ${version} of template ${name}`;
        throw new DormouseError("not_found", `there is no ${what}`);
      }
      for (const row of chosen) await drop(row);
    },
    drop,
  };

  async function drop({ name, version, workspaceId, snapshotId }: Parameters<TemplateBaker["drop"]>[0]) {
    await store.remove(name, version);
    await remote(host.calls.snapshots.delete({ workspaceId, id: snapshotId })).catch((error: unknown) =>
      log.warn("a template's snapshot was left", { template: name, error }),
    );
  }

  /** What its minutes left of the workspace that the template was. */
  async function dropOthers(workspaceId: string, kept: string) {
    const { snapshots } = await remote(host.calls.snapshots.list({ workspaceId }));
    for (const { id } of snapshots) {
      if (id !== kept) await remote(host.calls.snapshots.delete({ workspaceId, id }));
    }
  }
}

import { DormouseError, type Logger } from "@dormouse/base";
import type { MachineSecret } from "@dormouse/contract";
import { environmentOf, type VariableOwner } from "../definitions/definition.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import type { WorkspaceRow } from "../workspaces/view.ts";
import type { Seal } from "./seal.ts";
import type { SecretRow, SecretStore } from "./store.ts";

/** Which secrets workspaces have. */
export interface WorkspaceSecrets {
  /**
   * What a workspace's machine has: its secrets, with values and so for its host alone, and its whole environment, in which
   * placeholders stand for them.
   */
  ofMachine(row: SecretOwner & VariableOwner): Promise<{ secrets: MachineSecret[]; env: Record<string, string> }>;
  /** The variables that stand for them; nothing in it is secret. */
  variables(row: SecretOwner): Promise<Record<string, string>>;
}

/** What of a workspace decides about its secrets. */
export type SecretOwner = Pick<WorkspaceRow, "id" | "ownerId" | "organisationId" | "repository" | "definition" | "env">;

/** Makes {@link WorkspaceSecrets}. */
export function workspaceSecrets(options: {
  store: Pick<SecretStore, "of">;
  organisations: Pick<OrganisationStore, "personal">;
  seal: Seal;
  log: Logger;
}): WorkspaceSecrets {
  const { store, organisations, seal, log } = options;

  async function rowsOf({ ownerId, organisationId, repository, definition, env }: SecretOwner): Promise<SecretRow[]> {
    // What becomes a template is everybody's.
    if (definition?.isPrebuild) return [];
    const { id: personal } = await organisations.personal(ownerId);
    const all = await store.of([...new Set([organisationId, personal])]);
    // Its owner's own go before those of its organisation, and what it was created with before both.
    const sorted = all.sort((a, b) => Number(a.organisationId === personal) - Number(b.organisationId === personal));
    const byName = new Map<string, SecretRow>();
    for (const row of sorted) if (concerns(row, repository) && !(row.name in env)) byName.set(row.name, row);
    return [...byName.values()];
  }

  function openValue({ id, organisationId, sealed }: SecretRow): string | undefined {
    try {
      return seal.open(sealed, { organisationId, secretId: id });
    } catch (error) {
      log.error("a secret cannot be read; what needs it is refused", {
        secretId: id,
        error: DormouseError.from(error),
      });
      return undefined;
    }
  }

  const variablesOf = (rows: readonly SecretRow[], owner: SecretOwner) =>
    Object.fromEntries(rows.map(({ id, name }) => [name, seal.placeholder(owner.id, id)]));

  return {
    async ofMachine(owner) {
      const rows = await rowsOf(owner);
      const secrets = rows.map((row) => {
        const value = openValue(row);
        const { id, name, hosts, isInsecure } = row;
        const placeholder = seal.placeholder(owner.id, id);
        return { name, placeholder, hosts, isInsecure, ...(value !== undefined && { value }) };
      });
      const env = { ...variablesOf(rows, owner), ...owner.env };
      return { secrets, env: environmentOf(owner.definition, { ...owner, env }) };
    },
    async variables(owner) {
      return variablesOf(await rowsOf(owner), owner);
    },
  };
}

/** Whether workspaces of a repository get a secret. */
export function concerns({ repositories }: Pick<SecretRow, "repositories">, repository: string | null): boolean {
  return repositories === null || (repository !== null && repositories.includes(repository));
}

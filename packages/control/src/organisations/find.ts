import { DormouseError } from "@dormouse/base";
import { personalOrganisation } from "@dormouse/contract";
import { type Actor, actsIn } from "../accounts/actor.ts";
import type { Membership, OrganisationStore } from "./store.ts";

/**
 * The organisation that somebody means, by name or id, if they are in it and may act there. Without a name that of their API
 * key, else their own.
 * @param field what named it, for the message.
 * @throws DormouseError `not_found`.
 */
export async function findOrganisation(
  store: Pick<OrganisationStore, "find">,
  actor: Actor,
  { reference, field }: { reference: string | undefined; field?: string },
): Promise<Membership> {
  const named = reference ?? actor.organisationId ?? personalOrganisation;
  const found = await store.find(actor.userId, named);
  if (found && actsIn(actor, found.id)) return found;
  const where = field === undefined ? "" : `${field}: `;
  throw new DormouseError("not_found", `${where}you are in no organisation ${JSON.stringify(named)}`);
}

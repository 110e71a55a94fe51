import { DormouseError } from "@dormouse/base";

/** Who asks. */
export interface Actor {
  userId: string;
  email: string;
  name: string;
  /** A browser's session, which needs its requests' origin checked, or a program's key. */
  via: "session" | "key";
  /** Of a browser. */
  sessionId?: string;
  /** Of a key that is for one organisation alone. */
  organisationId?: string;
}

/** Whether somebody may act in an organisation that they are in. */
export function actsIn({ organisationId }: { organisationId?: string | undefined }, where: string): boolean {
  return organisationId === undefined || organisationId === where;
}

/** @throws DormouseError `permission_denied` for a key that is for one organisation alone: it is not the person. */
export function requirePerson(actor: Actor): Actor {
  if (actor.organisationId === undefined) return actor;
  throw new DormouseError(
    "permission_denied",
    "this API key is for one organisation alone; that is for you yourself, or a key without one",
  );
}

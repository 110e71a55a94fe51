import { DormouseError } from "@dormouse/base";
import type { PortProtocol, PortVisibility } from "@dormouse/contract";
import { type Actor, actsIn } from "../accounts/actor.ts";
import type { Authenticator, Credentials } from "../accounts/authenticate.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import type { WorkspaceService } from "../workspaces/service.ts";
import type { WorkspaceStore } from "../workspaces/store.ts";
import type { OwnedRow } from "../workspaces/view.ts";
import type { PortPolicy } from "./service.ts";
import { isWider, type KnownPort, knownPort } from "./settings.ts";
import { linkPrefix, type PortRef, type PortStore } from "./store.ts";

/** A port by its origin. */
export interface PortOrigin {
  label: string;
  port: number;
}

/** A request to a port's origin, as far as it says who asks. */
export interface PortVisit extends PortOrigin {
  session?: string | undefined;
  authorization?: string | undefined;
  kind: "http" | "webSocket";
  wakes: boolean;
}

/** Decides for the gateway who may open a port. */
export interface PortGate {
  /**
   * @throws DormouseError `unauthenticated` when nobody is proven who might have access, `not_found` without access and for
   *   a port that is not forwarded, `failed_precondition` when the workspace sleeps and is not to be woken, or failed.
   */
  open(visit: PortVisit): Promise<{ workspaceId: string; visibility: PortVisibility; protocol: PortProtocol }>;
  /** @throws DormouseError `unauthenticated`, `not_found` without access. */
  ticket(origin: PortOrigin, credentials: Credentials, challenge: string): Promise<string>;
  /** @throws DormouseError `unauthenticated` for a ticket that is wrong, used or too old. */
  enter(origin: PortOrigin, of: { ticket: string; state: string }): Promise<{ token: string; expiresAt: Date }>;
  /** @throws DormouseError `unauthenticated` for a link that is wrong, revoked or too old. */
  enterByLink(origin: PortOrigin, link: string): Promise<{ token: string; expiresAt: Date }>;
}

/** From the redirect at the platform to the one at the port's origin. */
const ticketMs = 60_000;
/** A browser comes back for another cookie by itself. */
const sessionMs = 24 * 3600_000;

/** Makes the {@link PortGate}. */
export function createPortGate(options: {
  store: PortStore;
  workspaces: Pick<WorkspaceService, "awake">;
  rows: Pick<WorkspaceStore, "byAddress">;
  authenticator: Pick<Authenticator, "authenticate">;
  organisations: Pick<OrganisationStore, "find">;
  policy: PortPolicy;
}): PortGate {
  const { store, workspaces, rows, authenticator, organisations, policy } = options;

  async function find({
    label,
    port,
  }: PortOrigin): Promise<{ row: OwnedRow; known: KnownPort; ref: PortRef } | undefined> {
    const row = await rows.byAddress(label);
    if (!row || row.state === "deleting") return undefined;
    const setting = (await store.settings(row.id)).find((each) => each.port === port);
    const known = knownPort(row, { port, setting, maxVisibility: policy.maxVisibility });
    return { row, known, ref: { workspaceId: row.id, port } };
  }

  async function mayOpen(
    actor: Pick<Actor, "userId" | "organisationId">,
    row: OwnedRow,
    visibility: PortVisibility,
  ): Promise<boolean> {
    if (visibility === "public") return true;
    if (!actsIn(actor, row.organisationId)) return false;
    // Also its owner is let in only while they are in its organisation.
    if (actor.userId !== row.ownerId && visibility !== "organisation") return false;
    return (await organisations.find(actor.userId, row.organisationId)) !== undefined;
  }

  /** Undefined: nobody is proven. */
  async function isLetIn(visit: PortVisit, found: NonNullable<Awaited<ReturnType<typeof find>>>) {
    const { row, known, ref } = found;
    const { authorization, session } = visit;
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
    if (token?.startsWith(linkPrefix)) return (await isLink(() => store.linkOf(ref, token))) || undefined;
    if (token !== undefined) {
      const actor = await authenticator.authenticate({ authorization: `Bearer ${token}` }).catch(unproven);
      return actor && (await mayOpen(actor, row, known.visibility));
    }
    const visitor = session === undefined ? undefined : await store.visitor(ref, session);
    if (visitor?.linkId !== undefined) return (await isLink(async () => visitor)) || undefined;
    return visitor && (await mayOpen(visitor, row, known.visibility));
  }

  /** Links are as wide as public ports. */
  async function isLink(look: () => Promise<unknown>): Promise<boolean> {
    return !isWider("public", policy.maxVisibility) && (await look()) !== undefined;
  }

  async function newSession(ref: PortRef, of: { sessionId?: string; linkId?: string; until: Date }) {
    const expiresAt = new Date(Math.min(Date.now() + sessionMs, of.until.getTime()));
    return { token: await store.createSession(ref, { ...of, expiresAt }), expiresAt };
  }

  return {
    async open(visit) {
      const found = await find(visit);
      const isOpen = found?.known.visibility === "public";
      const isIn = isOpen || (found && (await isLetIn(visit, found)));
      if (!found || isIn === undefined) {
        // What is not there and what nobody proved to be allowed to see look the same.
        if (found || !(await isSomebody(visit))) throw unauthenticated();
        throw notFound(visit);
      }
      const { row, known } = found;
      if (!isIn || !known.isForwarded) throw notFound(visit);
      const { protocol, visibility } = known;
      if (!visit.wakes) return { workspaceId: row.id, protocol, visibility };
      if (row.state === "hibernated" && !(visit.kind === "http" ? row.wakeOnHttp : row.wakeOnWebSocket)) {
        throw new DormouseError(
          "failed_precondition",
          "this workspace sleeps, and requests to its ports do not wake it; its page does",
          { details: { state: row.state } },
        );
      }
      return { workspaceId: (await workspaces.awake(row)).id, protocol, visibility };
    },
    async ticket(origin, credentials, challenge) {
      const { userId, sessionId } = await authenticator.authenticate(credentials);
      if (sessionId === undefined) throw new DormouseError("unauthenticated", "sign in with a browser");
      const found = await find(origin);
      if (!found || !(await mayOpen({ userId }, found.row, found.known.visibility))) throw notFound(origin);
      return await store.createTicket(found.ref, { sessionId, challenge, expiresAt: new Date(Date.now() + ticketMs) });
    },
    async enter(origin, of) {
      const found = await find(origin);
      const used = found && (await store.useTicket(found.ref, of));
      if (!used)
        throw new DormouseError("unauthenticated", "this way in was used already or is too old; open it again");
      return await newSession(found.ref, used);
    },
    async enterByLink(origin, token) {
      const found = await find(origin);
      const link = found && (await store.linkOf(found.ref, token));
      if (!link || !(await isLink(async () => link))) {
        throw new DormouseError("unauthenticated", "this link was revoked or is too old");
      }
      return await newSession(found.ref, { linkId: link.id, until: link.expiresAt });
    },
  };

  async function isSomebody({ authorization }: PortVisit): Promise<boolean> {
    if (authorization === undefined) return false;
    return (await authenticator.authenticate({ authorization }).catch(unproven)) !== undefined;
  }
}

/** Bad credentials are none; anything else that goes wrong is told. */
function unproven(error: unknown): undefined {
  if (DormouseError.from(error).code !== "unauthenticated") throw error;
  return undefined;
}

function unauthenticated(): DormouseError {
  return new DormouseError(
    "unauthenticated",
    "this port is not public: open it in a browser that is signed in, or send an API key or a link's token as `Authorization: Bearer …`",
  );
}

function notFound({ label, port }: PortOrigin): DormouseError {
  return new DormouseError("not_found", `there is no port ${port} of ${JSON.stringify(label)} for you`);
}

import { createId } from "@dormouse/base";
import type { PortProtocol, PortVisibility } from "@dormouse/contract";
import { and, asc, eq, gt, lt } from "drizzle-orm";
import { hashSecret, newSecret } from "../accounts/secrets.ts";
import type { Database } from "../database/open.ts";
import { portLinks, portSessions, portSettings, portTickets, sessions } from "../database/schema.ts";

/** A port of a workspace. */
export interface PortRef {
  workspaceId: string;
  port: number;
}

/** What was set for a port; null: as the definition says. */
export interface PortSetting {
  port: number;
  visibility: PortVisibility | null;
  label: string | null;
  protocol: PortProtocol | null;
  isForwarded: boolean | null;
}

/** A link without its token. */
export type PortLinkRow = Omit<typeof portLinks.$inferSelect, "hash">;

/** By what a browser is at a port's origin: its sign-in as somebody, or a link. */
export type PortVisitor = { userId: string; linkId?: undefined } | { linkId: string; userId?: undefined };

/** Settings, links, tickets and sessions of ports, in the database. Tokens are stored as hashes. */
export interface PortStore {
  settings(workspaceId: string): Promise<PortSetting[]>;
  set(ref: PortRef, patch: Partial<Omit<PortSetting, "port">>): Promise<void>;
  /** The token is in this answer and nowhere else. */
  createLink(ref: PortRef, expiresAt: Date): Promise<PortLinkRow & { token: string }>;
  links(ref: PortRef): Promise<PortLinkRow[]>;
  removeLink(ref: PortRef, id: string): Promise<boolean>;
  /** The link of this token, if it is one of this port and has not expired. */
  linkOf(ref: PortRef, token: string): Promise<PortLinkRow | undefined>;
  createTicket(ref: PortRef, of: { sessionId: string; challenge: string; expiresAt: Date }): Promise<string>;
  /** Removes the ticket; answers whose browser it was for, if all of it is right. */
  useTicket(
    ref: PortRef,
    of: { ticket: string; state: string },
  ): Promise<{ sessionId: string; until: Date } | undefined>;
  createSession(ref: PortRef, of: { sessionId?: string; linkId?: string; expiresAt: Date }): Promise<string>;
  /** Who is at a port's origin with this cookie. */
  visitor(ref: PortRef, token: string): Promise<PortVisitor | undefined>;
}

/** Begins every link's token, so that it is told from an API key. */
export const linkPrefix = "dml_";

/** The {@link PortStore} on a database. */
export function portStore(db: Database): PortStore {
  const ofPort = (table: typeof portLinks | typeof portSessions, ref: PortRef) =>
    and(eq(table.workspaceId, ref.workspaceId), eq(table.port, ref.port));
  const linksOf = (ref: PortRef) => and(ofPort(portLinks, ref), gt(portLinks.expiresAt, new Date()));

  return {
    async settings(workspaceId) {
      return await db.select().from(portSettings).where(eq(portSettings.workspaceId, workspaceId));
    },
    async set(ref, patch) {
      if (Object.keys(patch).length === 0) return;
      await db
        .insert(portSettings)
        .values({ ...ref, ...patch })
        .onConflictDoUpdate({ target: [portSettings.workspaceId, portSettings.port], set: patch });
    },
    async createLink(ref, expiresAt) {
      const token = newSecret(linkPrefix);
      const row = { ...ref, id: createId("link"), createdAt: new Date(), expiresAt };
      await db.delete(portLinks).where(lt(portLinks.expiresAt, row.createdAt));
      await db.insert(portLinks).values({ ...row, hash: hashSecret(token) });
      return { ...row, token };
    },
    async links(ref) {
      return await db.select().from(portLinks).where(linksOf(ref)).orderBy(asc(portLinks.createdAt));
    },
    async removeLink(ref, id) {
      const removed = await db
        .delete(portLinks)
        .where(and(ofPort(portLinks, ref), eq(portLinks.id, id)))
        .returning({ id: portLinks.id });
      return removed.length > 0;
    },
    async linkOf(ref, token) {
      const [link] = await db
        .select()
        .from(portLinks)
        .where(and(linksOf(ref), eq(portLinks.hash, hashSecret(token))));
      return link;
    },
    async createTicket(ref, { sessionId, challenge, expiresAt }) {
      const ticket = newSecret("");
      await db.delete(portTickets).where(lt(portTickets.expiresAt, new Date()));
      await db.insert(portTickets).values({ ...ref, hash: hashSecret(ticket), challenge, sessionId, expiresAt });
      return ticket;
    },
    async useTicket(ref, { ticket, state }) {
      // Removing and reading are one statement, so that of two uses only one counts.
      const [used] = await db
        .delete(portTickets)
        .where(and(eq(portTickets.hash, hashSecret(ticket)), gt(portTickets.expiresAt, new Date())))
        .returning();
      const isRight =
        used?.workspaceId === ref.workspaceId && used.port === ref.port && used.challenge === hashSecret(state);
      if (!isRight) return undefined;
      const [session] = await db.select().from(sessions).where(eq(sessions.id, used.sessionId));
      return session && { sessionId: session.id, until: session.expiresAt };
    },
    async createSession(ref, { sessionId, linkId, expiresAt }) {
      const token = newSecret("");
      await db.delete(portSessions).where(lt(portSessions.expiresAt, new Date()));
      await db.insert(portSessions).values({ ...ref, hash: hashSecret(token), sessionId, linkId, expiresAt });
      return token;
    },
    async visitor(ref, token) {
      const [found] = await db
        .select({ linkId: portSessions.linkId, userId: sessions.userId, until: sessions.expiresAt })
        .from(portSessions)
        .leftJoin(sessions, eq(sessions.id, portSessions.sessionId))
        .where(
          and(
            ofPort(portSessions, ref),
            eq(portSessions.hash, hashSecret(token)),
            gt(portSessions.expiresAt, new Date()),
          ),
        );
      if (found?.linkId) return { linkId: found.linkId };
      return found?.userId && found.until && found.until > new Date() ? { userId: found.userId } : undefined;
    },
  };
}

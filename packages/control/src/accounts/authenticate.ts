import { DormouseError } from "@dormouse/base";
import type { Actor } from "./actor.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { Auth } from "./auth.ts";

/** The part of a request that says who asks. */
export interface Credentials {
  cookie?: string;
  authorization?: string;
}

/** Finds out who asks. */
export interface Authenticator {
  /** @throws DormouseError `unauthenticated` when nobody is proven. */
  authenticate(credentials: Credentials): Promise<Actor>;
  /** Forgets sessions that were believed; for whoever ends one. */
  forgetSessions(): void;
}

/** A page asks often; its session is looked up this seldom. */
const sessionCacheMs = 2_000;
const cachedSessions = 10_000;

/** The {@link Authenticator} for browsers' sessions and programs' keys. A key counts before a cookie. */
export function createAuthenticator(options: { auth: Auth; apiKeys: ApiKeys }): Authenticator {
  const { auth, apiKeys } = options;
  const sessions = new Map<string, { actor: Actor; untilMs: number }>();
  let generation = 0;

  async function bySession(cookie: string): Promise<Actor | undefined> {
    const cached = sessions.get(cookie);
    if (cached && cached.untilMs > performance.now()) return cached.actor;
    sessions.delete(cookie);
    const seen = generation;
    const found = await auth.api.getSession({ headers: new Headers({ cookie }) });
    if (!found) return undefined;
    const { id, email, name } = found.user;
    const actor: Actor = { userId: id, email, name, via: "session", sessionId: found.session.id };
    if (sessions.size >= cachedSessions) sessions.clear();
    if (seen === generation) sessions.set(cookie, { actor, untilMs: performance.now() + sessionCacheMs });
    return actor;
  }

  return {
    async authenticate({ cookie, authorization }) {
      if (authorization !== undefined) {
        const key = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
        const actor = key === undefined ? undefined : await apiKeys.verify(key);
        if (actor) return actor;
        throw new DormouseError("unauthenticated", "this API key is unknown, expired or revoked");
      }
      const actor = cookie === undefined ? undefined : await bySession(cookie);
      if (actor) return actor;
      throw new DormouseError("unauthenticated", "sign in, or send an API key as `Authorization: Bearer KEY`");
    },
    forgetSessions() {
      generation++;
      sessions.clear();
    },
  };
}

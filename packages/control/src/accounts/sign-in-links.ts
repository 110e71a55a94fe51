import { DormouseError } from "@dormouse/base";
import type { BetterAuthPlugin } from "better-auth";
import { APIError, createAuthEndpoint } from "better-auth/api";
import { setSessionCookie } from "better-auth/cookies";
import { and, eq, gt, lt } from "drizzle-orm";
import { z } from "zod";
import type { Database } from "../database/open.ts";
import { signInLinks } from "../database/schema.ts";
import { hashSecret, newSecret } from "./secrets.ts";

const lifeMs = 10 * 60_000;

/** A link that signs one browser in, once. */
export interface SignInLink {
  /** With the token in its fragment, which browsers send to nobody: a secret until used. */
  url: string;
  expiresAt: Date;
}

/**
 * Makes a link for a person. It works once, within 10 minutes.
 * @param next where the page goes afterwards, a path of this platform.
 */
export async function createSignInLink(
  db: Database,
  options: { userId: string; publicUrl: string; next?: string },
): Promise<SignInLink> {
  const { userId, publicUrl, next } = options;
  if (next !== undefined && !/^\/(?![/\\])/.test(next)) {
    throw new DormouseError("invalid_argument", `next: ${JSON.stringify(next)} must be a path of this platform`);
  }
  const now = new Date();
  const token = newSecret("");
  const expiresAt = new Date(now.getTime() + lifeMs);
  await db.delete(signInLinks).where(lt(signInLinks.expiresAt, now));
  await db.insert(signInLinks).values({ hash: hashSecret(token), userId, expiresAt });
  const query = next === undefined ? "" : `?next=${encodeURIComponent(next)}`;
  return { url: `${publicUrl}/signin${query}#token=${token}`, expiresAt };
}

/**
 * `POST /sign-in/link` with `{ token }`: sets the session's cookie, or refuses with 401
 * when the link was used, is too old or was never made.
 */
export function signInLinkEndpoint(db: Database): BetterAuthPlugin {
  return {
    id: "dormouse-sign-in-link",
    endpoints: {
      signInLink: createAuthEndpoint(
        "/sign-in/link",
        { method: "POST", body: z.object({ token: z.string().min(1).max(200) }) },
        async (context) => {
          // Removing and reading are one statement, so that of two browsers only one gets in.
          const used = await db
            .delete(signInLinks)
            .where(and(eq(signInLinks.hash, hashSecret(context.body.token)), gt(signInLinks.expiresAt, new Date())))
            .returning({ userId: signInLinks.userId });
          const userId = used[0]?.userId;
          const user = userId === undefined ? null : await context.context.internalAdapter.findUserById(userId);
          if (!user) {
            throw new APIError("UNAUTHORIZED", { message: "this sign-in link was used already or is too old" });
          }
          const session = await context.context.internalAdapter.createSession(user.id);
          await setSessionCookie(context, { session, user });
          return context.json({ user: { id: user.id, name: user.name, email: user.email } });
        },
      ),
    },
  };
}

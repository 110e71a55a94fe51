import type { Logger } from "@dormouse/base";
import { betterAuth } from "better-auth";
import { drizzleAdapter } from "better-auth/adapters/drizzle";
import type { Database } from "../database/open.ts";
import * as schema from "../database/schema.ts";
import type { OrganisationStore } from "../organisations/store.ts";
import { invitationEndpoints } from "./invitations.ts";
import { passwordLength } from "./password-length.ts";
import { signInLinkEndpoint } from "./sign-in-links.ts";

/** Sessions and passwords, under `/api/auth`. */
export type Auth = ReturnType<typeof createAuth>;

/** Where {@link Auth} answers. */
export const authPath = "/api/auth";

const sessionSeconds = 30 * 24 * 3600;
const sessionRenewSeconds = 24 * 3600;

/** Makes {@link Auth} on the database. `secret` signs the cookies: sessions end when it changes. */
export function createAuth(options: {
  db: Database;
  organisations: Pick<OrganisationStore, "invitationOf" | "join">;
  secret: string;
  publicUrl: string;
  log: Logger;
}) {
  const { db, organisations, secret, publicUrl, log } = options;
  return betterAuth({
    appName: "Dormouse",
    baseURL: publicUrl,
    basePath: authPath,
    secret,
    database: drizzleAdapter(db, {
      provider: "pg",
      schema: {
        user: schema.users,
        session: schema.sessions,
        account: schema.accounts,
        verification: schema.verifications,
      },
    }),
    emailAndPassword: {
      enabled: true,
      // Accounts are made by the platform and by invitations, not by whoever finds the page.
      disableSignUp: true,
      minPasswordLength: passwordLength.minimum,
      maxPasswordLength: passwordLength.maximum,
    },
    session: { expiresIn: sessionSeconds, updateAge: sessionRenewSeconds },
    plugins: [signInLinkEndpoint(db), invitationEndpoints(organisations)],
    // The server has compared Origin with the address that was asked for before it comes here, and the address
    // may be any under which the platform is reached.
    trustedOrigins: (request) => [request?.headers.get("origin") ?? publicUrl],
    rateLimit: {
      enabled: true,
      storage: "memory",
      window: 60,
      max: 600,
      customRules: {
        "/sign-in/*": { window: 60, max: 10 },
        "/sign-up/*": { window: 60, max: 10 },
        "/invitation": { window: 60, max: 30 },
      },
    },
    advanced: {
      cookiePrefix: "dormouse",
      useSecureCookies: new URL(publicUrl).protocol === "https:",
      defaultCookieAttributes: { httpOnly: true, sameSite: "lax", path: "/" },
      // Set by the gateway, which removes what came from outside.
      ipAddress: { ipAddressHeaders: ["x-forwarded-for"] },
    },
    telemetry: { enabled: false },
    logger: {
      log: (level, message, ...rest) => log[level](message, rest.length > 0 ? { rest } : {}),
    },
  });
}

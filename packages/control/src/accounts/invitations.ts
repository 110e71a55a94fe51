import { createId, DormouseError } from "@dormouse/base";
import type { BetterAuthPlugin } from "better-auth";
import { APIError, createAuthEndpoint } from "better-auth/api";
import { setSessionCookie } from "better-auth/cookies";
import { eq } from "drizzle-orm";
import { z } from "zod";
import { isUniqueViolation } from "../database/errors.ts";
import { accounts, users } from "../database/schema.ts";
import { spentInvitation } from "../organisations/service.ts";
import type { OrganisationStore, Transaction } from "../organisations/store.ts";
import { passwordLength } from "./password-length.ts";

const token = z.string().min(1).max(200);
const newcomer = z.object({
  token,
  name: z.string().trim().min(1, "name: say what you are called").max(100, "name: a name has at most 100 characters"),
  email: z.email("email: must be an e-mail address").max(254).toLowerCase(),
  password: z
    .string()
    .min(passwordLength.minimum, `password: a password has at least ${passwordLength.minimum} characters`)
    .max(passwordLength.maximum, `password: a password has at most ${passwordLength.maximum} characters`),
});

/**
 * What somebody without an account can do with an invitation: `POST /invitation` with `{ token }` tells what it is to, and
 * `POST /sign-up/invitation` makes an account, has it join, and sets the session's cookie. A token that is wrong, used or too
 * old is refused with 404; it is used only when all of it succeeds.
 */
export function invitationEndpoints(organisations: Pick<OrganisationStore, "invitationOf" | "join">): BetterAuthPlugin {
  return {
    id: "dormouse-invitations",
    endpoints: {
      showInvitation: createAuthEndpoint(
        "/invitation",
        { method: "POST", body: z.object({ token }) },
        async (context) => {
          const found = await organisations.invitationOf(context.body.token);
          if (!found) throw new APIError("NOT_FOUND", { message: spentInvitation });
          return context.json({ ...found, expiresAt: found.expiresAt.toISOString() });
        },
      ),
      signUpByInvitation: createAuthEndpoint(
        "/sign-up/invitation",
        { method: "POST", body: newcomer },
        async (context) => {
          const { internalAdapter, password } = context.context;
          // Before a slow hash is made for nobody.
          if (!(await organisations.invitationOf(context.body.token))) {
            throw new APIError("NOT_FOUND", { message: spentInvitation });
          }
          const person = { ...context.body, passwordHash: await password.hash(context.body.password) };
          const joined = await organisations
            .join(context.body.token, (transaction) => createPerson(transaction, person))
            .catch((caught: unknown) => {
              const { code, message } = DormouseError.from(caught);
              if (code === "already_exists") throw new APIError("CONFLICT", { message });
              if (code === "resource_exhausted") throw new APIError("TOO_MANY_REQUESTS", { message });
              throw caught;
            });
          const user = joined && (await internalAdapter.findUserById(joined.userId));
          if (!user) throw new APIError("NOT_FOUND", { message: spentInvitation });
          const session = await internalAdapter.createSession(user.id);
          await setSessionCookie(context, { session, user });
          return context.json({ user: { id: user.id, name: user.name, email: user.email } });
        },
      ),
    },
  };
}

/** @throws DormouseError `already_exists` when the address has an account. */
async function createPerson(
  transaction: Transaction,
  { name, email, passwordHash }: { name: string; email: string; passwordHash: string },
): Promise<string> {
  const id = createId("user");
  const [known] = await transaction.select({ id: users.id }).from(users).where(eq(users.email, email));
  const taken = () =>
    new DormouseError(
      "already_exists",
      `there is an account for ${email}: sign in with it, then open the invitation again`,
    );
  if (known) throw taken();
  try {
    await transaction.insert(users).values({ id, name, email });
  } catch (error) {
    if (isUniqueViolation(error, "users_email_unique")) throw taken();
    throw error;
  }
  await transaction.insert(accounts).values({
    ...{ id: createId("acc"), userId: id, providerId: "credential", accountId: id, password: passwordHash },
  });
  return id;
}

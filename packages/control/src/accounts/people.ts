import { createId, DormouseError } from "@dormouse/base";
import type { Account, UserSettings } from "@dormouse/contract";
import { eq } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { userSettings, users } from "../database/schema.ts";
import type { Auth } from "./auth.ts";
import { passwordLength } from "./password-length.ts";

/** People's own records. */
export interface People {
  /** The first person of this installation, made when there is none; later starts find it again. */
  ensureAdministrator(email: string): Promise<Account>;
  /**
   * @throws DormouseError `permission_denied` when there is a password already and
   *   `current` is not it, `invalid_argument` for one that is too short or long.
   */
  setPassword(userId: string, passwords: { current?: string; next: string }): Promise<void>;
  byId(userId: string): Promise<Account | undefined>;
  settings(userId: string): Promise<UserSettings>;
  saveSettings(userId: string, settings: Partial<UserSettings>): Promise<UserSettings>;
}

/** The {@link People} of a database. */
export function createPeople(db: Database, auth: Auth): People {
  async function settings(userId: string): Promise<UserSettings> {
    const [row] = await db.select().from(userSettings).where(eq(userSettings.userId, userId));
    return { settings: row?.settings ?? "", keybindings: row?.keybindings ?? "" };
  }
  return {
    settings,
    async byId(userId) {
      const { id, name, email } = users;
      const [user] = await db.select({ id, name, email }).from(users).where(eq(id, userId));
      return user;
    },
    async ensureAdministrator(email) {
      const first = () => db.select().from(users).orderBy(users.createdAt).limit(1);
      let [user] = await first();
      if (!user) {
        const row = { id: createId("user"), name: "Administrator", email, emailVerified: true };
        await db.insert(users).values(row).onConflictDoNothing();
        [user] = await first();
      }
      if (!user) throw new DormouseError("internal", "the administrator could not be made");
      return { id: user.id, name: user.name, email: user.email };
    },
    async setPassword(userId, { current, next }) {
      const { minimum, maximum } = passwordLength;
      if (next.length < minimum || next.length > maximum) {
        throw new DormouseError("invalid_argument", `a password has ${minimum} to ${maximum} characters`);
      }
      const { internalAdapter, password } = await auth.$context;
      const account = await internalAdapter.findCredentialAccount(userId);
      const hash = await password.hash(next);
      if (!account) {
        await internalAdapter.linkAccount({ userId, providerId: "credential", accountId: userId, password: hash });
        return;
      }
      const isKnown =
        account.password && current && (await password.verify({ hash: account.password, password: current }));
      if (!isKnown) throw new DormouseError("permission_denied", "the current password is not right");
      await internalAdapter.updateAccount(account.id, { password: hash });
    },
    async saveSettings(userId, changed) {
      if (Object.keys(changed).length > 0) {
        await db
          .insert(userSettings)
          .values({ userId, ...changed })
          .onConflictDoUpdate({ target: userSettings.userId, set: { ...changed, updatedAt: new Date() } });
      }
      return settings(userId);
    },
  };
}

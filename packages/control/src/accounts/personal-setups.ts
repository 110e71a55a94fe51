import { DormouseError } from "@dormouse/base";
import type { PersonalSetup } from "@dormouse/contract";
import { eq } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { personalSetups } from "../database/schema.ts";
import { parseRepositoryUrl } from "../workspaces/repository-url.ts";

/** What people want in each of their workspaces, whatever its repository says. */
export interface PersonalSetups {
  of(userId: string): Promise<PersonalSetup>;
  /**
   * Changes what is given; null takes it away.
   * @throws DormouseError `invalid_argument` for an address of dotfiles that is none, or holds a password.
   */
  save(userId: string, changed: Partial<PersonalSetup>): Promise<PersonalSetup>;
}

const nothing: PersonalSetup = { dotfiles: null, shell: null, gitName: null, gitEmail: null };

/** Whether there is anything to bring. */
export function hasAnything(setup: PersonalSetup): boolean {
  return Object.values(setup).some((value) => value !== null);
}

/** The {@link PersonalSetups} of a database. */
export function createPersonalSetups(db: Database): PersonalSetups {
  async function of(userId: string): Promise<PersonalSetup> {
    const [row] = await db.select().from(personalSetups).where(eq(personalSetups.userId, userId));
    if (!row) return nothing;
    const { dotfiles, shell, gitName, gitEmail } = row;
    return { dotfiles, shell, gitName, gitEmail };
  }
  return {
    of,
    async save(userId, { ...changed }) {
      if (changed.dotfiles) {
        const { url, credential } = parseRepositoryUrl(changed.dotfiles.repository);
        if (credential) {
          throw new DormouseError(
            "invalid_argument",
            `dotfiles.repository is ${url} with a password: it would be kept and shown; give the address alone`,
          );
        }
        changed.dotfiles = { ...changed.dotfiles, repository: url };
      }
      if (Object.keys(changed).length > 0) {
        await db
          .insert(personalSetups)
          .values({ userId, ...changed })
          .onConflictDoUpdate({ target: personalSetups.userId, set: { ...changed, updatedAt: new Date() } });
      }
      return of(userId);
    },
  };
}

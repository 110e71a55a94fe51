import { readFileSync, statSync } from "node:fs";

/** What this machine is for now. Read again whenever `dormouse-init` has written another identity. */
export interface Session {
  /** What callers must show. */
  readonly token: string;
  /** Environment of every user process, over the login environment; in memory only. */
  readonly env: Readonly<Record<string, string>>;
  /** Where processes start that name no folder; undefined: in the user's home. */
  readonly folder: string | undefined;
  /** Whom processes run as that name nobody, and new files belong to; undefined: the machine's default user. */
  readonly user: string | undefined;
  /** Looks whether there is another identity. */
  refresh(): void;
}

/** What the functions of the agent need to know of their machine. */
export interface Machine {
  session: Session;
  /** The user's root as the agent sees it: `/user` in a machine, `/` or a folder in tests; no slash at its end. */
  root: string;
}

/**
 * The session that stands in the identity file: a line with the token, then `env`, `folder` and `user` as JSON, or nothing
 * before the first identity. The file is replaced as a whole.
 */
export function openSession(file: string): Session {
  let seen = "";
  let token = "";
  let env: Readonly<Record<string, string>> = {};
  let folder: string | undefined;
  let user: string | undefined;
  const session: Session = {
    get token() {
      return token;
    },
    get env() {
      return env;
    },
    get folder() {
      return folder;
    },
    get user() {
      return user;
    },
    refresh() {
      const { ino, mtimeNs } = statSync(file, { bigint: true });
      const version = `${ino} ${mtimeNs}`;
      if (version === seen) return;
      const text = readFileSync(file, "utf8");
      const end = text.indexOf("\n");
      token = text.slice(0, end);
      const content = text.slice(end + 1);
      ({ env = {}, folder, user } = content === "" ? {} : JSON.parse(content));
      seen = version;
    },
  };
  session.refresh();
  return session;
}

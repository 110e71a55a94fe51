import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** Numeric identity of an account of this machine. */
export interface SystemUser {
  uid: number;
  gid: number;
}

/**
 * The account PostgreSQL runs under: PostgreSQL refuses to run as root, so root gets
 * a system account of that name, made when it is missing. Anybody else runs it as
 * themselves, said by `undefined`.
 * @throws DormouseError `failed_precondition` when the account cannot be made.
 */
export async function postgresUser(name = "dormouse-postgres"): Promise<SystemUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const found = await lookUp(name);
  if (found) return found;
  try {
    // 9 is "name already in use": another process was faster, which is as good.
    await run(
      "useradd",
      ["--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin", name],
      { okCodes: [0, 9] },
    );
  } catch (error) {
    throw new DormouseError("failed_precondition", `no system account ${name} for PostgreSQL, and none could be made`, {
      cause: error,
    });
  }
  const made = await lookUp(name);
  if (!made) throw new DormouseError("internal", `useradd made no account ${name}`);
  return made;
}

async function lookUp(name: string): Promise<SystemUser | undefined> {
  // 2 is "no such account".
  const { code, stdout } = await run("getent", ["passwd", name], { okCodes: [0, 2] });
  if (code !== 0) return undefined;
  const [, , uid, gid] = stdout.trim().split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

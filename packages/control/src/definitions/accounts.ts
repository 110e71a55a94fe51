import { DormouseError } from "@dormouse/base";
import { type GuestClient, remote } from "../host/client.ts";

/** A user of a machine, from its own `/etc/passwd`. */
export interface GuestAccount {
  name: string;
  uid: number;
  gid: number;
  home: string;
  shell: string;
}

/**
 * A user of a machine by name or number.
 * @param what the property that names it, for the error.
 * @throws DormouseError `failed_precondition` naming the users there are.
 */
export async function findAccount(
  guest: GuestClient,
  user: string,
  what: string,
  signal: AbortSignal,
): Promise<GuestAccount> {
  const accounts = await readAccounts(guest, signal);
  const found = accounts.find(({ name, uid }) => name === user || String(uid) === user);
  if (found) return found;
  // Images without accounts run as root, and any number can be run as.
  if (user === "root") return { name: "root", uid: 0, gid: 0, home: "/root", shell: "/bin/sh" };
  if (/^\d+$/.test(user)) return { name: user, uid: Number(user), gid: Number(user), home: "/", shell: "/bin/sh" };
  const people = accounts.filter(({ uid }) => uid === 0 || (uid >= 1000 && uid < 65_534)).map(({ name }) => name);
  throw new DormouseError(
    "failed_precondition",
    `${what} is ${JSON.stringify(user)}: the image has no such user; it has ${people.join(", ") || "none"}`,
  );
}

async function readAccounts(guest: GuestClient, signal: AbortSignal): Promise<GuestAccount[]> {
  const file = await remote(guest.files.read({ path: "/etc/passwd" }, { signal })).catch((error: unknown) => {
    if (DormouseError.from(error).code !== "not_found") throw error;
    return undefined;
  });
  const lines = Buffer.from(file?.content ?? "", "base64")
    .toString("utf8")
    .split("\n")
    .map((line) => line.split(":"));
  return lines.flatMap(([name = "", , uid, gid, , home, shell]) =>
    name === "" || uid === undefined
      ? []
      : [{ name, uid: Number(uid), gid: Number(gid), home: home || "/", shell: shell || "/bin/sh" }],
  );
}

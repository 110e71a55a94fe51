import { DormouseError, isId } from "@dormouse/base";
import { eq } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { portAddresses, workspaces } from "../database/schema.ts";
import { withRandomEnd } from "../workspaces/names.ts";

/** Names of workspaces in their ports' origins. */
export interface PortAddresses {
  /** One for a new workspace, after its name; nobody else has had it, and no other workspace has it now. */
  take(ownerId: string, name: string): Promise<string>;
}

/** A label of DNS has 63 characters, and five digits and two dashes stand before this. */
const labelLength = 56;
const attempts = 10;

/** The {@link PortAddresses} of a database. */
export function createPortAddresses(db: Database): PortAddresses {
  async function isFree(label: string, ownerId: string): Promise<boolean> {
    await db.insert(portAddresses).values({ label, ownerId }).onConflictDoNothing();
    const [address] = await db.select().from(portAddresses).where(eq(portAddresses.label, label));
    if (address?.ownerId !== ownerId) return false;
    const users = await db.select({ id: workspaces.id }).from(workspaces).where(eq(workspaces.address, label));
    return users.length === 0;
  }
  return {
    async take(ownerId, name) {
      // Workspaces from before there were addresses have their id.
      let label = isId("ws", name) || name.length > labelLength ? withRandomEnd(name, labelLength) : name;
      for (let attempt = 0; attempt < attempts; attempt++) {
        if (await isFree(label, ownerId)) return label;
        label = withRandomEnd(name, labelLength);
      }
      throw new DormouseError("internal", "no address was found");
    },
  };
}

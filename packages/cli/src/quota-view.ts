import { formatBytes } from "@dormouse/base";
import type { Allowance } from "@dormouse/contract";

/** What somebody has of what they may have, as fields to print. */
export function allowanceFields(
  { workspaces, snapshotBytes }: Allowance,
  prefix = "",
): (readonly [name: string, value: string])[] {
  return [
    [`${prefix}workspaces`, share(workspaces, String)],
    [`${prefix}snapshots`, share(snapshotBytes, formatBytes)],
  ];
}

function share({ used, limit }: { used: number; limit: number | null }, format: (value: number) => string): string {
  return limit === null ? `${format(used)}, no limit` : `${format(used)} of ${format(limit)}`;
}

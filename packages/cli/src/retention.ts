import type { HostConfigInput } from "@dormouse/host";
import { parseDuration } from "./duration.ts";
import { usageError } from "./exit.ts";

/**
 * Reads `1m:1h,1h:1d`: one snapshot of each minute for an hour, one of each hour for a day.
 * @throws a usage error naming `--keep` and what would be right.
 */
export function parseRetention(text: string): NonNullable<HostConfigInput["retention"]> {
  return text.split(",").map((tier) => {
    const [every, length, ...more] = tier.split(":");
    if (!every || !length || more.length > 0) {
      throw usageError(`--keep is ${JSON.stringify(text)}: it must be a list of EVERY:FOR such as 1m:1h,1h:1d,1d:31d`);
    }
    const everyMs = parseDuration("EVERY of --keep", every) * 1000;
    const forMs = parseDuration("FOR of --keep", length) * 1000;
    if (forMs < everyMs) throw usageError(`--keep is ${JSON.stringify(text)}: in ${tier}, FOR is shorter than EVERY`);
    return { everyMs, forMs };
  });
}

import type { PrebuildTrigger } from "@dormouse/devcontainer";
import { Cron } from "croner";

/**
 * When the schedules among these triggers want the next prebuild, in UTC; null when there is none. One that cannot be read, or
 * whose time never comes, is none: {@link scheduleNotes} tells it.
 */
export function nextScheduled(triggers: readonly PrebuildTrigger[], after: Date): Date | null {
  const times = triggers.flatMap((trigger) => {
    if (typeof trigger !== "object") return [];
    try {
      const next = new Cron(trigger.cron, { timezone: "UTC", paused: true }).nextRun(after);
      return next ? [next.getTime()] : [];
    } catch {
      return [];
    }
  });
  return times.length === 0 ? null : new Date(Math.min(...times));
}

/** What of the schedules among these triggers never has a prebuild made, a line each. */
export function scheduleNotes(triggers: readonly PrebuildTrigger[], now: Date): string[] {
  return triggers.flatMap((trigger) =>
    typeof trigger === "object" && nextScheduled([trigger], now) === null
      ? [
          `prebuild: the schedule ${JSON.stringify(trigger.cron)} never comes: minute, hour, day, month, day of the week`,
        ]
      : [],
  );
}

/** Seconds of a time such as `14d` or `1h30m`, as our block's schema has it; at least one. */
export function ttlSecondsOf(text: string): number {
  const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
  const parts = [...text.matchAll(/(\d+)([smhd])/g)];
  const seconds = parts.reduce((sum, [, amount, unit = ""]) => sum + Number(amount) * (unitSeconds[unit] ?? 0), 0);
  // What a column of the database holds is 68 years.
  return Math.min(Math.max(1, seconds), 2 ** 31 - 1);
}

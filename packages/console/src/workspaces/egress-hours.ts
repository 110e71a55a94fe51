import type { EgressHour } from "@dormouse/contract";

const hourMs = 3_600_000;

/** A day's hours, the one that goes on now last, with what was refused in each; hours that nobody speaks of have none. */
export function hoursOfDay(hours: readonly EgressHour[], nowMs: number): { at: string; count: number }[] {
  const counts = new Map(hours.map(({ at, count }) => [Date.parse(at), count]));
  const last = nowMs - (nowMs % hourMs);
  return Array.from({ length: 24 }, (_, index) => {
    const atMs = last - (23 - index) * hourMs;
    return { at: new Date(atMs).toISOString(), count: counts.get(atMs) ?? 0 };
  });
}

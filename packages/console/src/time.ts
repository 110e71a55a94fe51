const steps = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86_400, "hour", 3600],
  [Number.POSITIVE_INFINITY, "day", 86_400],
] as const;

/** How far `at` lies from `nowMs`, in words such as "5 minutes ago" or "in 2 hours". */
export function relativeTime(at: string, nowMs: number): string {
  const seconds = Math.round((Date.parse(at) - nowMs) / 1000);
  const distance = Math.abs(seconds);
  if (distance < 10) return seconds > 0 ? "in a moment" : "just now";
  const [, unit, unitSeconds] = steps.find(([limit]) => distance < limit) ?? steps[3];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.trunc(seconds / unitSeconds), unit);
}

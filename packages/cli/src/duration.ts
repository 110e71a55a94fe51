import { usageError } from "./exit.ts";

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * Reads `45s`, `90m`, `1h30m`, `2d`.
 * @returns whole seconds, at least 1.
 * @throws a usage error naming `what` and the forms there are.
 */
export function parseDuration(what: string, text: string): number {
  const isWhole = /^(\d+[smhd])+$/.test(text);
  let seconds = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(/(\d+)([smhd])/g)) {
    seconds += Number(amount) * (unitSeconds[unit] ?? 0);
  }
  if (!isWhole || seconds < 1 || !Number.isSafeInteger(seconds)) {
    throw usageError(`${what} is ${JSON.stringify(text)}: it must be a time such as 45s, 90m, 1h30m or 2d`);
  }
  return seconds;
}

/** How far a moment is from now, for people: `3 m ago`, `in 2 h`. */
export function relativeTime(moment: string | null, nowMs = Date.now()): string {
  if (moment === null) return "never";
  const distance = Math.round((new Date(moment).getTime() - nowMs) / 1000);
  const seconds = Math.abs(distance);
  const [amount, unit] =
    seconds < 90
      ? [seconds, "s"]
      : seconds < 5400
        ? [Math.round(seconds / 60), "m"]
        : seconds < 129_600
          ? [Math.round(seconds / 3600), "h"]
          : [Math.round(seconds / 86_400), "d"];
  return distance > 0 ? `in ${amount} ${unit}` : `${amount} ${unit} ago`;
}

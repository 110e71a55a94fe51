/** What many measurements of one thing come to, in milliseconds. */
export interface Figures {
  count: number;
  minMs: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Nearest-rank percentiles, rounded to a tenth of a millisecond. */
export function figures(timesMs: readonly number[]): Figures {
  const sorted = [...timesMs].sort((a, b) => a - b);
  const at = (fraction: number) => round(sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)] ?? Number.NaN);
  return { count: sorted.length, minMs: at(0), p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/** The middle one of many counts. */
export function median(counts: readonly number[]): number {
  return [...counts].sort((a, b) => a - b)[Math.floor(counts.length / 2)] ?? Number.NaN;
}

/** How often `part` goes into `whole`, to two digits after the point. */
export function ratio(part: number, whole: number): number {
  return Math.round((part / whole) * 1000) / 1000;
}

function round(valueMs: number): number {
  return Math.round(valueMs * 10) / 10;
}

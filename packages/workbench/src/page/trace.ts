/** Steps of a page on its way to the first character, in the order in which they usually come. */
const steps = [
  "workspace known",
  "editor's code loaded",
  "editor built",
  "open files back",
  "machine runs",
  "machine connected",
  "first key",
  "first key shown",
] as const;
/** See {@link markStep}. */
export type Step = (typeof steps)[number];

/** A step with the time it was done at, in milliseconds since the page was begun. */
export type DoneStep = readonly [step: Step, atMs: number];

const prefix = "dormouse/";

/** Notes that a step is done; the first time counts. Any recording of the browser shows it too. */
export function markStep(step: Step): void {
  if (performance.getEntriesByName(prefix + step).length === 0) performance.mark(prefix + step);
}

/** Watches for the first key that is pressed in an editor, and for the picture after it. */
export function traceFirstKey(): void {
  const onKey = (event: KeyboardEvent) => {
    if (event.key.length !== 1 || !(event.target as Element | null)?.closest?.(".monaco-editor")) return;
    window.removeEventListener("keydown", onKey, true);
    markStep("first key");
    // The frame in which it is drawn, and the one after, when it can be seen.
    requestAnimationFrame(() => requestAnimationFrame(() => markStep("first key shown")));
  };
  window.addEventListener("keydown", onKey, true);
}

/** What this page's steps were, and when it was asked for. */
export function readTrace(): { steps: DoneStep[]; shownMs: number } {
  const [navigation] = performance.getEntriesByType("navigation") as (PerformanceNavigationTiming & {
    /** When a page that was prepared came to be seen; 0 for any other. */
    activationStart?: number;
  })[];
  const marks = new Map(performance.getEntriesByType("mark").map(({ name, startTime }) => [name, startTime]));
  const done = steps.flatMap((step): DoneStep[] => {
    const atMs = marks.get(prefix + step);
    return atMs === undefined ? [] : [[step, atMs]];
  });
  return { steps: done, shownMs: navigation?.activationStart ?? 0 };
}

/** The trace as a text that says where the time went. */
export function describeTrace({ steps: done, shownMs }: ReturnType<typeof readTrace>): string {
  const rows = [...done].sort(([, a], [, b]) => a - b);
  const table = rows.map(([step, atMs], index) => {
    const sinceLast = atMs - Math.max(shownMs, rows[index - 1]?.[1] ?? 0);
    return atMs <= shownMs
      ? `| ${step} | before | |`
      : `| ${step} | ${Math.round(atMs - shownMs)} ms | ${Math.round(sinceLast)} ms |`;
  });
  const intro =
    shownMs > 0
      ? `The browser began this page ${(shownMs / 1000).toFixed(1)} s before you asked for it. What it had done by then cost you nothing.`
      : "The browser began this page when you asked for it.";
  return [
    "# How This Page Opened",
    "",
    intro,
    "",
    "| step | done after | took |",
    "|---|---:|---:|",
    ...table,
    "",
  ].join("\n");
}

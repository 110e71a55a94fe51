import { formatDuration, type Progress, type ProgressEvent } from "@dormouse/base";

/** Where steps are shown. */
export interface ProgressDisplay extends Disposable {
  progress: Progress;
}

/**
 * Shows the steps of something long: on a terminal the running ones as live lines with
 * their time, elsewhere one line when a step starts and one when it ends.
 */
export function createProgressDisplay(stream: NodeJS.WriteStream = process.stderr): ProgressDisplay {
  const running = new Map<string, ProgressEvent & { sinceMs: number }>();
  let drawn = 0;
  const erase = () => {
    if (drawn > 0) stream.write(`\x1b[${drawn}A\x1b[0J`);
    drawn = 0;
  };
  const draw = () => {
    const width = (stream.columns ?? 80) - 1;
    for (const step of running.values()) {
      const percent = step.fraction === undefined ? "" : ` ${Math.round(step.fraction * 100)} %`;
      stream.write(`${`… ${step.message}${percent} ${formatDuration(Date.now() - step.sinceMs)}`.slice(0, width)}\n`);
      drawn++;
    }
  };
  const redraw = () => {
    erase();
    draw();
  };
  const timer = stream.isTTY ? setInterval(redraw, 200) : undefined;
  timer?.unref();
  return {
    progress(event) {
      const before = running.get(event.step);
      if (stream.isTTY) erase();
      if (event.state === "done" || event.state === "failed") {
        running.delete(event.step);
        const took = formatDuration(event.elapsedMs ?? Date.now() - (before?.sinceMs ?? Date.now()));
        stream.write(`${event.state === "done" ? "✓" : "✗"} ${event.message} (${took})\n`);
      } else {
        running.set(event.step, { ...event, sinceMs: before?.sinceMs ?? Date.now() });
        if (!stream.isTTY && event.state === "started") stream.write(`… ${event.message}\n`);
      }
      if (stream.isTTY) draw();
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      if (stream.isTTY) erase();
    },
  };
}

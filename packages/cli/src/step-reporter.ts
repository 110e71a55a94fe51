import type { Progress } from "@dormouse/base";

/** A step as the platform reports it. */
export interface Step {
  step: string;
  message: string;
  fraction?: number;
}

/**
 * Turns a sequence of steps, of which a new one ends the one before, into progress with
 * beginnings, ends and times.
 */
export function createStepReporter(progress: Progress): {
  report: (step: Step) => void;
  end: (how: "done" | "failed") => void;
} {
  let current: (Step & { sinceMs: number }) | undefined;
  const end = (how: "done" | "failed") => {
    if (!current) return;
    const { step, message, sinceMs } = current;
    current = undefined;
    progress({ step, message, state: how, elapsedMs: performance.now() - sinceMs });
  };
  return {
    end,
    report(step) {
      if (current?.step === step.step) {
        current = { ...step, sinceMs: current.sinceMs };
        progress({ ...step, state: "running", elapsedMs: performance.now() - current.sinceMs });
        return;
      }
      end("done");
      current = { ...step, sinceMs: performance.now() };
      progress({ ...step, state: "started" });
    },
  };
}

/** One step of something long, as the CLI and the browser show it. */
export interface ProgressEvent {
  /** Stable name of the step, e.g. `image.base`. */
  step: string;
  state: "started" | "running" | "done" | "failed";
  /** One line for people. */
  message: string;
  /** 0 to 1 where known. */
  fraction?: number;
  /** How long the step has taken so far. */
  elapsedMs?: number;
}

/** Receives the steps of something long. Must not throw. */
export type Progress = (event: ProgressEvent) => void;

/** For callers nobody watches. */
export const silentProgress: Progress = () => {};

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${units[unit]}`;
}

/** `950` → `950 ms`, `61000` → `1 m 1 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

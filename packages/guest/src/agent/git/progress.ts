import type { GitProgress } from "@dormouse/contract/guest-schemas";
import { withoutCredentials } from "./errors.ts";

/** Cuts what git writes with `--progress` into steps and gives each complete one to `onProgress`. */
export function progressReader(onProgress: (progress: GitProgress) => void): (bytes: Buffer) => void {
  let rest = "";
  return (bytes) => {
    const lines = (rest + bytes.toString("utf8")).split(/[\r\n]+/);
    rest = (lines.pop() ?? "").slice(-4096);
    for (const line of lines) {
      const progress = parseProgress(line);
      if (progress) onProgress(progress);
    }
  };
}

function parseProgress(line: string): GitProgress | undefined {
  const message = withoutCredentials(line.replace(/^remote: */, "").trim());
  if (!message || /^(?:hint|warning|error|fatal):/.test(message)) return undefined;
  const match = /^([A-Z][A-Za-z ]+): +(\d+)% \((\d+)\/(\d+)\)/.exec(message);
  if (!match) return { phase: /^([A-Z][A-Za-z ]+):/.exec(message)?.[1] ?? "Talking to the remote", message };
  const [, phase = "", , done, total] = match;
  return { phase, fraction: Number(total) > 0 ? Math.min(1, Number(done) / Number(total)) : 1, message };
}

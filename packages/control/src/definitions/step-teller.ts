import { type DockerfileSegment, type DockerfileStep, findStep } from "@dormouse/devcontainer";
import type { BuildWatcher } from "./builder.ts";
import type { DockerfileSource } from "./dockerfile-source.ts";

/** Tells how far the build of a Dockerfile is, in its own steps. */
export interface StepTeller {
  /** The first segments are there already. */
  cached(segments: number): void;
  /** A segment begins. */
  segment(segment: DockerfileSegment): SegmentTeller;
}

/** Of one segment. */
export interface SegmentTeller {
  /** Buildah tells of an instruction of what it was given, which holds more than the segment's own steps. */
  begins(instruction: string): void;
  /** The step that it had come to, as buildah told it; its line is null when it cannot be found. */
  current(): { line: number | null; text: string } | undefined;
}

/** Makes a {@link StepTeller}. */
export function stepTeller(
  { path, segments }: Pick<DockerfileSource, "path" | "segments">,
  { onLog, onProgress }: Pick<BuildWatcher, "onLog" | "onProgress">,
): StepTeller {
  const all = segments.flatMap(({ steps }) => steps);
  const tell = (step: DockerfileStep, text: string, more = "") => {
    const line = text.replace(/\s*\\?\n\s*/g, " ");
    const said = `step ${all.indexOf(step) + 1}/${all.length} ${line}`;
    onLog(`${said}${more}`);
    onProgress({ step: "build", message: `Building ${path}: ${said.slice(0, 120)}${more}` });
  };
  return {
    cached(count) {
      for (const { steps } of segments.slice(0, count)) for (const step of steps) tell(step, step.text, " (cached)");
    },
    segment({ steps }) {
      const told: string[] = [];
      let at: { line: number | null; text: string } | undefined;
      const [first] = steps;
      return {
        begins(text) {
          told.push(text);
          const isOwnFrom =
            first?.keyword === "FROM" && /^from (?!localhost\/dormouse\/stage-|scratch( |$))/i.test(text);
          // In FROM variables are replaced.
          const step = findStep(steps, told) ?? (isOwnFrom ? first : undefined);
          if (step) tell(step, text);
          if (step || !/^(from|arg) /i.test(text)) at = { line: step?.line ?? null, text };
        },
        current: () => at,
      };
    },
  };
}

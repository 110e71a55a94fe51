import { type DockerfileOptions, type DockerfileStep, indexOfStage, readStages } from "./dockerfile-stages.ts";

/** What the build of a Dockerfile needs from outside. */
export interface DockerfileNeeds {
  /** Images that a stage starts from or copies from, as they are written once variables are replaced, and where first. */
  images: { name: string; line: number }[];
  /**
   * What it can take out of its context, relative to that: nothing, some files and folders, in whose names may be `*` and
   * `?`, or all (`.`) where what is written depends on more than the Dockerfile.
   */
  sources: string[];
}

/**
 * Finds out what a Dockerfile is built from: images and files of the stages that the target needs.
 * @throws DormouseError as `readStages`.
 */
export function dockerfileNeeds(text: string, options: DockerfileOptions): DockerfileNeeds {
  const { stages, needed } = readStages(text, options);
  const images = new Map<string, number>();
  const sources = new Set<string>();
  for (const index of needed) {
    for (const step of stages[index]?.steps ?? []) {
      for (const source of step.sources) sources.add(source);
      for (const name of step.uses) {
        if (isImage(name, indexOfStage(stages, name, index)) && !images.has(name)) images.set(name, step.line);
      }
    }
  }
  return {
    images: [...images].map(([name, line]) => ({ name, line })),
    sources: sources.has(".") ? ["."] : [...sources].sort(),
  };
}

/** What is no stage, and not the empty image. */
export function isImage(name: string, stage: number): boolean {
  return stage < 0 && name !== "scratch";
}

/**
 * The step that a build had come to, by the instructions that it told of, in its order; undefined when it cannot be found,
 * as when its text was changed.
 */
export function findStep<Step extends DockerfileStep>(
  steps: readonly Step[],
  told: readonly string[],
): Step | undefined {
  const texts = steps.map(({ text }) => inOneLine(text));
  let [at, found] = [-1, -1];
  for (const text of told.map(inOneLine)) {
    const next = texts.findIndex((candidate, index) => index > at && candidate === text);
    found = next >= 0 ? next : texts.indexOf(text);
    // Where variables were replaced, as in FROM, the next step shows again where it is.
    if (found >= 0) at = found;
  }
  return steps[found];
}

function inOneLine(text: string): string {
  return text
    .replace(/\\[ \t]*\r?\n(?:[ \t]*#.*\r?\n)*/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

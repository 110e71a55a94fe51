import { isImage } from "./dockerfile.ts";
import {
  argumentsOf,
  type DockerfileOptions,
  type DockerfileStages,
  type DockerfileStep,
  indexOfStage,
  readStages,
  type Stage,
  type StageStep,
} from "./dockerfile-stages.ts";

/**
 * Some steps of one stage that are built in one go, with all that decides what comes of them but what came of the segments
 * before. A segment ends with a step that may take long, so that what was there then can be kept.
 */
export interface DockerfileSegment {
  /** A Dockerfile of its own; its last stage is what is built. */
  text: string;
  /** What the result is called, for the segments that go on from it or copy out of it: a stage has one name all along. */
  image: string;
  /** As they stand in the Dockerfile. */
  steps: DockerfileStep[];
  /** Images that it needs, as in `DockerfileNeeds`. */
  images: string[];
  /** As in `DockerfileNeeds`. */
  sources: string[];
  /** Those arguments of the build that it can see. */
  args: Record<string, string>;
  /** Whether the same comes of it each time as far as can be told without running it. */
  isRepeatable: boolean;
}

/** Known to every `RUN` without an `ARG`, https://docs.docker.com/reference/dockerfile/#predefined-args */
const predefined = new Set(["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH"]);

/** Commands that only arrange what is there: as fast as keeping what comes of them, so they go with what follows. */
const quickCommands = new Set(
  "[ : adduser addgroup cd chgrp chmod chown chsh echo export groupadd ln mkdir printf rm set test touch true useradd usermod".split(
    " ",
  ),
);

/**
 * Cuts a Dockerfile into {@link DockerfileSegment}s, in an order in which they can be built: those that take nothing out of the
 * context come as early as they can, since that changes most often.
 * @throws DormouseError as `readStages`.
 */
export function dockerfileSegments(text: string, options: DockerfileOptions): DockerfileSegment[] {
  const file = readStages(text, options);
  const pieces = file.needed.flatMap((index) => {
    const stage = file.stages[index];
    return stage ? cut(stage).map((steps, number) => pieceOf(file, { index, number, steps })) : [];
  });
  return inOrder(pieces).map((piece) => segmentOf(file, piece, options.args ?? {}));
}

/** Steps of a stage that stay together. */
interface Piece {
  /** Of its stage. */
  index: number;
  /** Within the stage. */
  number: number;
  steps: StageStep[];
  /** Stages that must be there. */
  stages: Set<number>;
  images: Set<string>;
}

/** After steps that may take long, as long as what follows can go on from the image that there is by then. */
function cut(stage: Stage): StageStep[][] {
  const pieces: StageStep[][] = [];
  let piece: StageStep[] = [];
  let canGoOn = true;
  for (const step of stage.steps) {
    piece.push(step);
    canGoOn &&= !isBound(step);
    if (step.keyword !== "RUN" || !canGoOn || isQuick(step.text)) continue;
    pieces.push(piece);
    piece = [];
  }
  return piece.length > 0 ? [...pieces, piece] : pieces;
}

/** What means something else in an image than in the stage that it stands in. */
function isBound({ keyword, text }: DockerfileStep): boolean {
  // It is run by whoever goes on from the image; an ENTRYPOINT forgets an image's CMD; what comes into a volume is lost.
  if (["ONBUILD", "CMD", "VOLUME"].includes(keyword)) return true;
  // It is said again for the steps that follow, when the variable may be another one.
  return keyword === "ARG" && argumentsOf(text).some(({ value }) => value?.includes("$"));
}

function isQuick(text: string): boolean {
  const line = text.replace(/^run\s+/i, "").replace(/\\[ \t]*\r?\n/g, " ");
  if (/^--|<<|[`(){}]|\n/.test(line)) return false;
  const commands = line.split(/&&|\|\||[;|&]/).map((command) => command.trim().split(/\s+/, 1)[0] ?? "");
  return commands.every((command) => command === "" || quickCommands.has(command));
}

function pieceOf({ stages }: DockerfileStages, piece: Pick<Piece, "index" | "number" | "steps">): Piece {
  const own: Piece = { ...piece, stages: new Set(), images: new Set() };
  for (const name of piece.steps.flatMap(({ uses }) => uses)) {
    const before = indexOfStage(stages, name, piece.index);
    if (before >= 0) own.stages.add(before);
    else if (isImage(name, before)) own.images.add(name);
  }
  return own;
}

const takesFiles = ({ steps }: Piece) => steps.some(({ sources, isRemote }) => sources.length > 0 || isRemote);

function inOrder(pieces: readonly Piece[]): Piece[] {
  const ordered: Piece[] = [];
  const left = [...pieces];
  const isReady = ({ index, number, stages }: Piece) =>
    !left.some((other) => stages.has(other.index) || (other.index === index && other.number < number));
  while (left.length > 0) {
    // A stage needs earlier ones alone, so the first that is left is always ready.
    const next = left.findIndex((piece) => isReady(piece) && !takesFiles(piece));
    ordered.push(...left.splice(Math.max(next, 0), 1));
  }
  return ordered;
}

const imageOf = (index: number) => `localhost/dormouse/stage-${index}`;

function segmentOf(file: DockerfileStages, piece: Piece, given: Readonly<Record<string, string>>): DockerfileSegment {
  const { index, number, steps } = piece;
  const stage = file.stages[index];
  const before = stage?.steps.slice(0, stage.steps.indexOf(steps[0] as StageStep)) ?? [];
  const args = [...before, ...steps].filter(({ keyword }) => keyword === "ARG");
  const declared = new Set([...file.head, ...args].flatMap(({ text }) => argumentsOf(text).map(({ name }) => name)));
  const isSeen = (name: string) => declared.has(name) || predefined.has(name.toUpperCase());
  const from = (image: string, at: number) => {
    const name = file.stages[at]?.name;
    return `FROM ${image}${name === undefined ? "" : ` AS ${name}`}`;
  };
  const sources = new Set(steps.flatMap((step) => step.sources));
  return {
    text: [
      ...(file.escape === "\\" ? [] : [`# escape=${file.escape}`]),
      ...file.head.map(({ text }) => text),
      // In their places, since they are named by number too; what is not needed is not built.
      ...file.stages.slice(0, index).map((_, at) => from(piece.stages.has(at) ? imageOf(at) : "scratch", at)),
      ...(number === 0 ? [] : [from(imageOf(index), index)]),
      ...before.filter(({ keyword }) => keyword === "ARG").map(({ text }) => text),
      ...steps.map(({ text }) => text),
      "",
    ].join("\n"),
    image: imageOf(index),
    steps: steps.map(({ keyword, line, text }) => ({ keyword, line, text })),
    images: [...piece.images],
    sources: sources.has(".") ? ["."] : [...sources].sort(),
    args: Object.fromEntries(Object.entries(given).filter(([name]) => isSeen(name))),
    isRepeatable: !steps.some(({ isRemote }) => isRemote),
  };
}

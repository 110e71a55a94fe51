import { DormouseError } from "@dormouse/base";
import { type Add, type Copy, DockerfileParser, type Instruction, type Run } from "dockerfile-ast";

/** What the build of a Dockerfile needs from outside. */
export interface DockerfileNeeds {
  /** Images that a stage starts from or copies from, as they are written once variables are replaced, and where first. */
  images: { name: string; line: number }[];
  /**
   * What it can take out of its context, relative to that: nothing, some files and folders, or all (`.`) where what is
   * written depends on more than the Dockerfile.
   */
  sources: string[];
}

/** How a Dockerfile is built. */
export interface DockerfileOptions {
  /** Of the build, over the defaults in the file. */
  args?: Readonly<Record<string, string>> | undefined;
  /** The stage to build; default: the last. */
  target?: string | undefined;
  /** Of the machine that builds, as images name it: `amd64`. */
  architecture: string;
}

interface Stage {
  name: string | undefined;
  line: number;
  /** As it is written. */
  base: string;
  platform: string | undefined;
  /** Stages or images that it takes files from. */
  uses: { name: string; line: number }[];
  sources: string[];
}

/**
 * Finds out what a Dockerfile is built from: images and files of the stages that the target needs, others are not built.
 * https://docs.docker.com/reference/dockerfile/
 * @throws DormouseError `failed_precondition` with `details.line` for what cannot be built.
 */
export function dockerfileNeeds(text: string, options: DockerfileOptions): DockerfileNeeds {
  const { stages, args } = readStages(text, options);
  const targetIndex = indexOfTarget(stages, options.target);
  const images = new Map<string, number>();
  const sources = new Set<string>();
  const seen = new Set<number>();
  const visit = (index: number) => {
    const stage = stages[index];
    if (!stage || seen.has(index)) return;
    seen.add(index);
    const base = expandVariables(stage.base, args);
    if (base === "") throw wrong(stage.line, `FROM ${stage.base} names no image: give the argument a default value`);
    // Buildah finds an image that is there already by its digest only where that is written out.
    if (base.includes("@") && base !== stage.base) {
      throw wrong(stage.line, `FROM ${stage.base} is ${base}: a digest must stand in the Dockerfile itself`);
    }
    checkPlatform(stage, args, options.architecture);
    for (const { name, line } of [{ name: base, line: stage.line }, ...stage.uses]) {
      const before = indexOfStage(stages, name, index);
      if (before >= 0) visit(before);
      else if (/^\d+$/.test(name)) throw wrong(line, `there is no stage ${name} before line ${line}`);
      else if (name !== "scratch" && !images.has(name)) images.set(name, line);
    }
    for (const source of stage.sources) sources.add(source);
  };
  visit(targetIndex);
  return {
    images: [...images].map(([name, line]) => ({ name, line })),
    sources: sources.has(".") ? ["."] : [...sources].sort(),
  };
}

/**
 * The line of the instruction that a build had come to, by the instructions that it told of, in its order; null when they
 * cannot be found, as when their text was changed.
 */
export function lineOfStep(text: string, steps: readonly string[]): number | null {
  const instructions = DockerfileParser.parse(text)
    .getInstructions()
    .map((instruction) => ({
      line: instruction.getRange().start.line + 1,
      text: inOneLine(instruction.getTextContent()),
    }));
  let [at, found] = [-1, -1];
  for (const step of steps.map(inOneLine)) {
    const isIt = (candidate: { text: string }) => candidate.text === step;
    const next = instructions.findIndex((candidate, index) => index > at && isIt(candidate));
    // Stages are not always built in the order in which they are written.
    found = next >= 0 ? next : instructions.findIndex(isIt);
    // Where variables were replaced, as in FROM, the next step shows again where it is.
    if (found >= 0) at = found;
  }
  return instructions[found]?.line ?? null;
}

function inOneLine(text: string): string {
  return text
    .replace(/\\[ \t]*\r?\n(?:[ \t]*#.*\r?\n)*/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

function readStages(text: string, { args: given = {}, architecture }: DockerfileOptions) {
  // What builders know without an ARG that declares it, https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
  const platform = `linux/${architecture}`;
  const args: Record<string, string> = {};
  for (const side of ["TARGET", "BUILD"]) {
    Object.assign(args, { [`${side}PLATFORM`]: platform, [`${side}OS`]: "linux", [`${side}ARCH`]: architecture });
  }
  const stages: Stage[] = [];
  for (const instruction of DockerfileParser.parse(text).getInstructions()) {
    const line = instruction.getRange().start.line + 1;
    const keyword = instruction.getKeyword();
    const stage = stages.at(-1);
    if (keyword === "FROM") stages.push(readFrom(instruction, line));
    else if (keyword === "ARG" && !stage) declare(instruction, args, given);
    else if (keyword === "COPY" || keyword === "ADD") readCopy(instruction as Copy | Add, line, stage);
    else if (keyword === "RUN") readRun(instruction as Run, line, stage);
  }
  return { stages, args };
}

function readFrom(instruction: Instruction, line: number): Stage {
  const words = instruction.getArguments().map((argument) => argument.getValue());
  const flags = flagsOf(instruction);
  const [base, as, name] = words;
  if (base === undefined) throw wrong(line, "FROM needs an image");
  const isNamed = as?.toLowerCase() === "as" && name !== undefined;
  return {
    ...{ name: isNamed ? name.toLowerCase() : undefined, line, base, platform: flags.get("platform") },
    ...{ uses: [], sources: [] },
  };
}

function declare(
  instruction: Instruction,
  args: Record<string, string>,
  given: Readonly<Record<string, string>>,
): void {
  for (const argument of instruction.getArguments()) {
    const [, name = "", value] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(argument.getValue()) ?? [];
    const known = given[name] ?? (value === undefined ? undefined : expandVariables(value, args));
    if (name !== "" && known !== undefined) args[name] = known;
  }
}

function readCopy(instruction: Copy | Add, line: number, stage: Stage | undefined): void {
  if (!stage) throw wrong(line, `${instruction.getKeyword()} stands before the first FROM`);
  const from = flagsOf(instruction).get("from");
  if (from !== undefined) return void stage.uses.push({ name: from, line });
  for (const word of wordsOf(instruction).slice(0, -1)) {
    const isElsewhere = word.startsWith("<<") || /^[a-z][a-z0-9+.-]*:\/\/|^git@/.test(word);
    if (!isElsewhere) stage.sources.push(sourceOf(word));
  }
}

function wordsOf(instruction: Copy | Add): string[] {
  const words = instruction.getArguments().map((argument) => argument.getValue());
  const [first = ""] = words;
  if (first.startsWith("[")) {
    try {
      return [JSON.parse(instruction.getRawArgumentsContent() ?? "")].flat().map(String);
    } catch {
      // Then it is a pattern, or wrong, which the build tells.
    }
  }
  // What stands in a document of the Dockerfile's own begins on the next line.
  const isDocument = words.some((word) => word.startsWith("<<"));
  return isDocument ? (instruction.getRawArgumentsContent() ?? "").split("\n", 1).join().split(/\s+/) : words;
}

/** A file or folder of the context by its path; with variables or patterns in it, it may be anything. */
function sourceOf(word: string): string {
  if (/[$*?[\]\\'"]/.test(word)) return ".";
  const parts = word.split("/").filter((part) => part !== "" && part !== ".");
  return parts.length === 0 || parts.includes("..") ? "." : parts.join("/");
}

function readRun(instruction: Run, line: number, stage: Stage | undefined): void {
  if (!stage) throw wrong(line, "RUN stands before the first FROM");
  for (const flag of instruction.getFlags()) {
    if (flag.getName() !== "mount") continue;
    const settings = new Map((flag.getValue() ?? "").split(",").map((pair) => pair.split("=", 2) as [string, string]));
    const from = settings.get("from");
    if (from !== undefined) stage.uses.push({ name: from, line });
    else if ((settings.get("type") ?? "bind") === "bind") stage.sources.push(".");
  }
}

function flagsOf(instruction: Instruction): Map<string, string> {
  const flags = "getFlags" in instruction ? (instruction as Run).getFlags() : [];
  return new Map(flags.map((flag) => [flag.getName(), flag.getValue() ?? ""]));
}

function indexOfTarget(stages: readonly Stage[], target: string | undefined): number {
  if (stages.length === 0) throw wrong(null, "there is no FROM in it");
  if (target === undefined) return stages.length - 1;
  const found = indexOfStage(stages, target, stages.length);
  if (found >= 0) return found;
  const names = stages.flatMap(({ name }) => name ?? []).join(", ") || "none with a name";
  throw wrong(null, `build.target is ${JSON.stringify(target)}: there is no such stage; the stages are: ${names}`);
}

/** A stage before another, by name or number; -1: there is none, so that it is an image. */
function indexOfStage(stages: readonly Stage[], name: string, before: number): number {
  const earlier = stages.slice(0, before);
  const index = earlier.findLastIndex((stage) => stage.name === name.toLowerCase());
  return index < 0 && /^\d+$/.test(name) && Number(name) < before ? Number(name) : index;
}

/** Nothing but what the machine that builds can run. */
function checkPlatform({ platform = "", line }: Stage, args: Readonly<Record<string, string>>, architecture: string) {
  const wanted = expandVariables(platform, args);
  const [os, machine = architecture] = wanted.split("/");
  if (wanted === "" || (os === "linux" && machine === architecture)) return;
  throw wrong(line, `FROM --platform=${wanted} cannot be built: machines are linux/${architecture}`);
}

/** `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`; unset ones are empty. */
function expandVariables(text: string, values: Readonly<Record<string, string>>): string {
  const pattern = /\\\$|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])((?:[^{}]|\{[^{}]*\})*))?\}/g;
  const replaced = text.replace(pattern, (all, plain?: string, name?: string, modifier?: string, word = "") => {
    if (all === "\\$") return "$";
    const value = values[plain ?? name ?? ""];
    const isSet = modifier?.startsWith(":") ? Boolean(value) : value !== undefined;
    if (modifier?.endsWith("-")) return isSet ? (value ?? "") : expandVariables(word, values);
    if (modifier?.endsWith("+")) return isSet ? expandVariables(word, values) : "";
    return value ?? "";
  });
  return replaced.replace(/^(["'])(.*)\1$/s, "$2");
}

function wrong(line: number | null, message: string): DormouseError {
  return new DormouseError("failed_precondition", message, { details: { line } });
}

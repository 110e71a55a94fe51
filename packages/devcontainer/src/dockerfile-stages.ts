import { DormouseError } from "@dormouse/base";
import { type Add, type Copy, DockerfileParser, type Instruction, type Run } from "dockerfile-ast";

/** How a Dockerfile is built. */
export interface DockerfileOptions {
  /** Of the build, over the defaults in the file. */
  args?: Readonly<Record<string, string>> | undefined;
  /** The stage to build; default: the last. */
  target?: string | undefined;
  /** Of the machine that builds, as images name it: `amd64`. */
  architecture: string;
}

/** One instruction. */
export interface DockerfileStep {
  keyword: string;
  /** From 1, where it begins. */
  line: number;
  /** As it is written, with its lines and documents. */
  text: string;
}

/** One in a stage, with what it takes from elsewhere. */
export interface StageStep extends DockerfileStep {
  /** Stages or images that it starts from or takes files from, variables replaced. */
  uses: string[];
  /** Files and folders of the context, or all (`.`). */
  sources: string[];
  /** It fetches by an address: what lies there may be another one each time. */
  isRemote: boolean;
}

/** A `FROM` and what follows it. */
export interface Stage {
  name: string | undefined;
  /** Its `FROM` is the first. */
  steps: StageStep[];
}

/** A Dockerfile in its parts. */
export interface DockerfileStages {
  /** What stands before the first stage, `ARG` alone. */
  head: DockerfileStep[];
  stages: Stage[];
  /** Of those that the target needs, in their order; the target is the last. */
  needed: number[];
  /** Which character goes on on the next line. */
  escape: string;
}

/** https://docs.docker.com/reference/dockerfile/#overview */
const keywords = new Set(
  "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split(
    " ",
  ),
);

/**
 * Reads the stages of a Dockerfile and finds those that its target needs; others are not built.
 * https://docs.docker.com/reference/dockerfile/
 * @throws DormouseError `failed_precondition` with `details.line` for what cannot be built.
 */
export function readStages(text: string, options: DockerfileOptions): DockerfileStages {
  const file = DockerfileParser.parse(text);
  const head: Instruction[] = [];
  const froms: Instruction[] = [];
  const stages: Stage[] = [];
  for (const instruction of file.getInstructions()) {
    const step = stepOf(instruction);
    const { keyword, line } = step;
    // A build would come to it only after all that stands before.
    if (!keywords.has(keyword)) throw wrong(line, `${keyword} is no instruction`);
    if (keyword === "FROM") {
      froms.push(instruction);
      stages.push({ name: nameOf(instruction), steps: [step] });
    } else if (stages.length > 0) stages.at(-1)?.steps.push({ ...step, ...takenBy(instruction) });
    else if (keyword === "ARG") head.push(instruction);
    else throw wrong(line, `${keyword} stands before the first FROM`);
  }
  const args = globalArguments(head, options);
  for (const [index, from] of froms.entries()) {
    // What is wrong with it counts once the stage is needed.
    const [step] = stages[index]?.steps ?? [];
    if (step) step.uses = [expandVariables(from.getArguments()[0]?.getValue() ?? "", args)];
  }
  const needed = findNeeded(stages, indexOfTarget(stages, options.target), (index) => {
    const from = froms[index];
    if (from) checkFrom(from, args, options.architecture);
  });
  return { head: head.map(stepOf), stages, needed, escape: file.getEscapeCharacter() };
}

function stepOf(instruction: Instruction): StageStep {
  const keyword = instruction.getKeyword();
  const line = instruction.getRange().start.line + 1;
  return { keyword, line, text: instruction.getTextContent(), uses: [], sources: [], isRemote: false };
}

/** Of those that stand before the first stage. */
function globalArguments(
  head: readonly Instruction[],
  { architecture, args: given = {} }: DockerfileOptions,
): Record<string, string> {
  // What builders know without an ARG that declares it, https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
  const platform = `linux/${architecture}`;
  const args: Record<string, string> = {};
  for (const side of ["TARGET", "BUILD"]) {
    Object.assign(args, { [`${side}PLATFORM`]: platform, [`${side}OS`]: "linux", [`${side}ARCH`]: architecture });
  }
  for (const { name, value } of head.flatMap((instruction) => argumentsOf(instruction.getTextContent()))) {
    const known = given[name] ?? (value === undefined ? undefined : expandVariables(value, args));
    if (known !== undefined) args[name] = known;
  }
  return args;
}

/** A stage and those that it needs, in their order. @throws DormouseError as `check` does, and for a stage that is not there. */
function findNeeded(stages: readonly Stage[], target: number, check: (index: number) => void): number[] {
  const needed = new Set<number>();
  const visit = (index: number) => {
    if (needed.has(index)) return;
    needed.add(index);
    check(index);
    for (const { uses, line } of stages[index]?.steps ?? []) {
      for (const name of uses) {
        const before = indexOfStage(stages, name, index);
        if (before >= 0) visit(before);
        else if (/^\d+$/.test(name)) throw wrong(line, `there is no stage ${name} before line ${line}`);
      }
    }
  };
  visit(target);
  return [...needed].sort((a, b) => a - b);
}

/** A stage before another, by name or number; -1: there is none, so that it is an image. */
export function indexOfStage(stages: readonly Stage[], name: string, before: number): number {
  const earlier = stages.slice(0, before);
  const index = earlier.findLastIndex((stage) => stage.name === name.toLowerCase());
  return index < 0 && /^\d+$/.test(name) && Number(name) < before ? Number(name) : index;
}

/** The names that an `ARG` declares, with their defaults as they are written. */
export function argumentsOf(text: string): { name: string; value: string | undefined }[] {
  const [instruction] = DockerfileParser.parse(text).getInstructions();
  return (instruction?.getArguments() ?? []).flatMap((argument) => {
    const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(argument.getValue()) ?? [];
    return name === undefined ? [] : [{ name, value }];
  });
}

function nameOf(instruction: Instruction): string | undefined {
  const [, as, name] = instruction.getArguments().map((argument) => argument.getValue());
  return as?.toLowerCase() === "as" ? name?.toLowerCase() : undefined;
}

/** @throws DormouseError for what a stage cannot start from. */
function checkFrom(instruction: Instruction, args: Readonly<Record<string, string>>, architecture: string): void {
  const { line } = stepOf(instruction);
  const written = instruction.getArguments()[0]?.getValue();
  if (written === undefined) throw wrong(line, "FROM needs an image");
  const base = expandVariables(written, args);
  if (base === "") throw wrong(line, `FROM ${written} names no image: give the argument a default value`);
  // Buildah finds an image that is there already by its digest only where that is written out.
  if (base.includes("@") && base !== written) {
    throw wrong(line, `FROM ${written} is ${base}: a digest must stand in the Dockerfile itself`);
  }
  checkPlatform(expandVariables(flagsOf(instruction).get("platform") ?? "", args), line, architecture);
}

function takenBy(instruction: Instruction): Partial<StageStep> {
  const keyword = instruction.getKeyword();
  if (keyword === "COPY" || keyword === "ADD") return takenByCopy(instruction as Copy | Add);
  return keyword === "RUN" ? takenByRun(instruction as Run) : {};
}

function takenByCopy(instruction: Copy | Add): Partial<StageStep> {
  const flags = flagsOf(instruction);
  const from = flags.get("from");
  if (from !== undefined) return { uses: [from] };
  const words = wordsOf(instruction).slice(0, -1);
  const isAddress = (word: string) => /^[a-z][a-z0-9+.-]*:\/\/|^git@/.test(word);
  return {
    sources: words.filter((word) => !word.startsWith("<<") && !isAddress(word)).map(sourceOf),
    // In a variable may be an address.
    isRemote:
      instruction.getKeyword() === "ADD" &&
      !flags.has("checksum") &&
      words.some((word) => isAddress(word) || word.includes("$")),
  };
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

/** Files or folders of the context by their path, in which `*` and `?` may stand; with more than that it may be anything. */
function sourceOf(word: string): string {
  if (/[$[\]\\'"]/.test(word)) return ".";
  const parts = word.split("/").filter((part) => part !== "" && part !== ".");
  return parts.length === 0 || parts.includes("..") ? "." : parts.join("/");
}

function takenByRun(instruction: Run): Partial<StageStep> {
  const [uses, sources]: [string[], string[]] = [[], []];
  for (const flag of instruction.getFlags()) {
    if (flag.getName() !== "mount") continue;
    const settings = new Map((flag.getValue() ?? "").split(",").map((pair) => pair.split("=", 2) as [string, string]));
    const from = settings.get("from");
    if (from !== undefined) uses.push(from);
    else if ((settings.get("type") ?? "bind") === "bind") {
      sources.push(sourceOf(settings.get("source") ?? settings.get("src") ?? "."));
    }
  }
  return { uses, sources };
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

/** Nothing but what the machine that builds can run. */
function checkPlatform(wanted: string, line: number, architecture: string): void {
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

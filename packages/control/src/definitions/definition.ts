import { DormouseError } from "@dormouse/base";
import type { Resources, SnapshotRef } from "@dormouse/contract";
import {
  type DormouseCustomizations,
  devcontainerId,
  type LifecycleHook,
  type LifecycleStep,
  type LocalVariables,
  type Problem,
  remoteEnvironment,
  substituteLocal,
  type UserEnvProbe,
  type VscodeCustomizations,
} from "@dormouse/devcontainer";
import type { Volumes } from "./carry.ts";
import { noPortRules, type PortRules } from "./ports.ts";
import type { Services } from "./services.ts";

/** What a machine starts from: an image's template, or a snapshot of a builder that was one. */
export interface MachineStart {
  template: string;
  snapshot: SnapshotRef | null;
  resources: Resources;
}

/** Why a workspace is not what its file says, and where in the file. */
export interface DefinitionProblem {
  message: string;
  /** Relative to the repository. */
  file: string | null;
  line: number | null;
  column: number | null;
}

/**
 * What a `devcontainer.json` makes of a workspace, kept with its row. Variables of the file are not yet replaced in it:
 * they depend on whose workspace it is.
 */
export interface Definition {
  /**
   * open: the file has not been looked at. again: it is to be looked at anew, and the machine made anew in any case.
   * guessed: the machine was started as the repository's last one was; whether the file still says the same is to be seen.
   * decided: the machine is, or is about to be, what the file says.
   */
  stage: "open" | "again" | "guessed" | "decided";
  /** Which of several files, by its folder's name or its path; null: the usual one; false: none of them. */
  wanted: string | false | null;
  /** Relative to the repository; null: it has none, or none that can be used. */
  path: string | null;
  /** SHA-256 over everything in the repository that decides, in hex. */
  source: string;
  /** Null: the workspace's own template. */
  start: MachineStart | null;
  /** Null: the template's default user. */
  user: string | null;
  /** Of image and features. */
  imageEnv: Record<string, string>;
  containerEnv: Record<string, string>;
  remoteEnv: Record<string, string | null>;
  userEnvProbe: UserEnvProbe;
  steps: LifecycleStep[];
  /** Programs of features that are started with the machine, as root. */
  entrypoints: string[];
  /** Folders that must be there. */
  folders: string[];
  ports: PortRules;
  /** What it asks of an editor. */
  vscode: VscodeCustomizations;
  /** What the file asks for and a machine does not do, a line each. */
  notes: string[];
  problem: DefinitionProblem | null;
  /** What runs beside it in its machine; null: nothing. */
  services: Services | null;
  /** What came of the last tool that attached, and when; null: none has yet, or there is nothing to run for one. */
  attached: { at: string; problem: DefinitionProblem | null } | null;
  /** The template that it began as; null: one that ships with the product. */
  template: { name: string; version: number } | null;
  /** The prebuild that it began as, and the commit that this is of; absent: none. */
  prebuilt?: { id: string; commit: string };
  /** When the file wants prebuilds of its repository, and how long they are kept. */
  prebuild?: DormouseCustomizations["prebuild"] | null;
  /** The repository lies in what the machine starts from. */
  hasRepository: boolean;
  /** Only what a prebuild runs is run: it is to become a template. */
  isPrebuild: boolean;
  /** What machines that this workspace had before kept for it, and a next one is given. */
  kept?: Volumes;
  /** The repository's folder lies in a file and waits for the next machine. */
  carried: boolean;
  /** Where the file wants to reach: proposals, which a person decides about. Absent in what was decided before there were any. */
  egress?: string[];
  /** Personal settings that are brought and installed once tools have what they wait for. */
  dotfiles: DormouseCustomizations["dotfiles"] | null;
  /** Steps that have run in this machine; `entrypoints` have been started in it. */
  done: (LifecycleHook | "dotfiles" | "entrypoints")[];
}

/** Nothing is known yet. */
export function openDefinition(wanted: Definition["wanted"], isPrebuild = false): Definition {
  return {
    ...{ stage: "open", wanted, path: null, source: "", start: null, user: null },
    ...{ imageEnv: {}, containerEnv: {}, remoteEnv: {}, userEnvProbe: "none", steps: [], entrypoints: [], folders: [] },
    ...{
      ports: noPortRules,
      vscode: { settings: {}, extensions: [] },
      notes: [],
      problem: null,
      attached: null,
      carried: false,
      done: [],
    },
    ...{ template: null, hasRepository: false, isPrebuild, dotfiles: null, services: null },
  };
}

/** What a machine of this definition keeps for its workspace: it is carried into the next one. */
export function volumesOf({ folders, services, kept }: Definition): Volumes {
  return {
    folders: [...new Set([...(kept?.folders ?? []), ...folders])],
    ofServices: services !== null || kept?.ofServices === true,
  };
}

/** Whose workspace it is, as far as variables of a file depend on it. */
export interface VariableOwner {
  id: string;
  folder: string;
  env: Readonly<Record<string, string>>;
}

/**
 * What `${localEnv:…}` and its like mean: the environment that the workspace was created with takes the place of the
 * local one, and the folder in the machine that of the local one.
 */
export function variablesOf({ id, folder, env }: VariableOwner): LocalVariables {
  return {
    localEnv: env,
    localWorkspaceFolder: folder,
    containerWorkspaceFolder: folder,
    devcontainerId: devcontainerId({ "dormouse.workspace": id }),
  };
}

/** Environment of every process of a workspace's machine: image, features and file, and over them what its owner gave. */
export function environmentOf(definition: Definition | null, owner: VariableOwner): Record<string, string> {
  if (!definition) return { ...owner.env };
  const variables = variablesOf(owner);
  const containerEnv = { ...definition.imageEnv, ...substituteLocal(definition.containerEnv, variables) };
  const remoteEnv = substituteLocal(definition.remoteEnv, variables);
  return { ...remoteEnvironment({ remoteEnv }, { containerEnv }), ...owner.env };
}

/** Whether two starts give the same machine. */
export function isSameStart(a: MachineStart, b: MachineStart): boolean {
  const { resources: x } = a;
  const { resources: y } = b;
  return (
    a.template === b.template &&
    a.snapshot?.workspaceId === b.snapshot?.workspaceId &&
    a.snapshot?.id === b.snapshot?.id &&
    x.vcpus === y.vcpus &&
    x.memoryMib === y.memoryMib &&
    x.diskGib === y.diskGib
  );
}

/** An error in the repository's own files, with the place where a person finds it. */
export function fileError(place: Omit<DefinitionProblem, "message">, message: string): DormouseError {
  return new DormouseError("failed_precondition", message, { details: { ...place } });
}

/** What people read of an error that kept a definition from being applied. */
export function problemOf(caught: unknown, path: string | null): DefinitionProblem {
  const { message, details } = DormouseError.from(caught);
  const number = (value: unknown) => (typeof value === "number" ? value : null);
  const file = typeof details.file === "string" ? details.file : path;
  return { message, file, line: number(details.line), column: number(details.column) };
}

/** What people read of the first error of a file, and how many there are. */
export function problemsError(problems: readonly Problem[]): DormouseError {
  const errors = problems.filter(({ severity }) => severity === "error");
  const [first] = errors;
  if (!first) throw new DormouseError("internal", "a definition without errors could not be read");
  const { file, line, column, property, message } = first;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  const subject = property === "" ? "" : `${property} `;
  return fileError({ file, line, column }, `${file}:${line}:${column}: ${subject}${message}${more}`);
}

import { type LifecycleCommand, type LifecycleHook, lifecycleHooks } from "./config.ts";
import type { HookCommand, MergedConfig } from "./merge.ts";

/** A command as it is run: a line for `/bin/sh`, or a program with its arguments. */
export type RunnableCommand = ({ kind: "shell"; line: string } | { kind: "exec"; argv: string[] }) & {
  /** Its name where several run in parallel. */
  name?: string;
};

/** What one feature or file gives to a step: commands that run in parallel, all of which must succeed. */
export interface LifecycleTask {
  /** A feature, `image` or `devcontainer.json`. */
  from: string;
  commands: RunnableCommand[];
}

/**
 * An occasion on which steps run: making a prebuild, creating a workspace (without a prebuild), each start of its
 * machine (the first one too), each tool that attaches.
 */
export type LifecycleOccasion = "prebuild" | "create" | "start" | "attach";

/** One step of the lifecycle. */
export interface LifecycleStep {
  hook: LifecycleHook;
  occasions: readonly LifecycleOccasion[];
  /** A host-side step is never run: a host runs machines of strangers, and no command of a repository. */
  runsIn: "machine" | "nowhere";
  /** Whether tools wait for it before they attach (`waitFor`). */
  blocking: boolean;
  /** Run one after the other; the first that fails ends this step and all that follow. */
  tasks: LifecycleTask[];
}

/** All six steps in their order, also those without a command. */
export interface LifecyclePlan {
  /** The last step that tools wait for. */
  waitFor: LifecycleHook;
  steps: LifecycleStep[];
}

const occasions: Readonly<Record<LifecycleHook, readonly LifecycleOccasion[]>> = {
  initializeCommand: ["create", "start"],
  onCreateCommand: ["prebuild", "create"],
  updateContentCommand: ["prebuild", "create"],
  postCreateCommand: ["create"],
  postStartCommand: ["start"],
  postAttachCommand: ["attach"],
};

/**
 * What runs when, and what is waited for ("Lifecycle scripts", "Lifecycle hooks" of features). `updateContentCommand`
 * runs again in a prebuild when there is new content. A workspace from a prebuild goes on with `postCreateCommand`.
 */
export function lifecyclePlan(merged: MergedConfig): LifecyclePlan {
  const waitFor = merged.waitFor ?? "updateContentCommand";
  const lastBlocking = lifecycleHooks.indexOf(waitFor);
  const steps = lifecycleHooks.map((hook, index): LifecycleStep => {
    const isHostSide = hook === "initializeCommand";
    return {
      hook,
      occasions: occasions[hook],
      runsIn: isHostSide ? "nowhere" : "machine",
      blocking: index <= lastBlocking,
      tasks: (isHostSide ? initializeCommands(merged) : merged.hooks[hook]).map(taskOf),
    };
  });
  return { waitFor, steps };
}

function initializeCommands({ initializeCommand }: MergedConfig): HookCommand[] {
  return initializeCommand === undefined ? [] : [{ from: "devcontainer.json", command: initializeCommand }];
}

function taskOf({ from, command }: HookCommand): LifecycleTask {
  return { from, commands: commandsOf(command) };
}

function commandsOf(command: LifecycleCommand): RunnableCommand[] {
  if (typeof command === "string" || Array.isArray(command)) return [runnable(command)];
  return Object.entries(command).map(([name, part]) => ({ name, ...runnable(part) }));
}

function runnable(command: string | string[]): RunnableCommand {
  return typeof command === "string" ? { kind: "shell", line: command } : { kind: "exec", argv: command };
}

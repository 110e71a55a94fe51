import type { LifecycleStep } from "@dormouse/devcontainer";
import type { Definition } from "./definition.ts";
import { hasDotfilesToBring } from "./dotfiles.ts";

/** Those that are run once for a machine, however many tools attach to it. */
export function stepsOfMachine({ steps }: Pick<Definition, "steps">): LifecycleStep[] {
  return steps.filter(({ occasions }) => occasions.includes("create") || occasions.includes("start"));
}

/** What of a definition is still to be run once nobody waits any more: nothing after a step that failed. */
export function backgroundOf(definition: Definition): Definition["done"] {
  if (definition.isPrebuild || definition.problem) return [];
  const left = stepsOfMachine(definition).filter(({ blocking, hook }) => !blocking && !definition.done.includes(hook));
  return [...left.map(({ hook }) => hook), ...(hasDotfilesToBring(definition) ? (["dotfiles"] as const) : [])];
}

/** Those that are run for each tool that attaches. */
export function stepsOfAttach({ steps }: Pick<Definition, "steps">): LifecycleStep[] {
  return steps.filter(({ occasions }) => occasions.includes("attach"));
}

/** Whether something is run when a tool attaches: not in what is to become a template, which no tool has. */
export function hasAttachSteps(definition: Pick<Definition, "steps" | "isPrebuild">): boolean {
  return !definition.isPrebuild && stepsOfAttach(definition).length > 0;
}

import type { LifecycleStep } from "@dormouse/devcontainer";
import type { Definition } from "./definition.ts";

/** Those that are run once for a machine, however many tools attach to it. */
export function stepsOfMachine({ steps }: Pick<Definition, "steps">): LifecycleStep[] {
  return steps.filter(({ occasions }) => occasions.includes("create") || occasions.includes("start"));
}

/** Those that are run for each tool that attaches. */
export function stepsOfAttach({ steps }: Pick<Definition, "steps">): LifecycleStep[] {
  return steps.filter(({ occasions }) => occasions.includes("attach"));
}

/** Whether something is run when a tool attaches: not in what is to become a template, which no tool has. */
export function hasAttachSteps(definition: Pick<Definition, "steps" | "isPrebuild">): boolean {
  return !definition.isPrebuild && stepsOfAttach(definition).length > 0;
}

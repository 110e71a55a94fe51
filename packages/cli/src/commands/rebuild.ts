import { formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { interruptible } from "../exit.ts";
import { printJson, printLine } from "../output.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { createStepReporter } from "../step-reporter.ts";
import { printProblem } from "../workspace-view.ts";

interface RebuildFlags {
  devcontainer?: string | false;
  ifNeeded?: boolean;
  json?: boolean;
}

export default function rebuild(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--devcontainer <name>", "which of its definitions; default: as it was chosen last")
    .option("--no-devcontainer", "apply none of its definitions")
    .option("--if-needed", "keep the machine when it is what the definition says")
    .option("--json", "print the workspace as JSON")
    .addHelpText(
      "after",
      "\nThe repository's folder is carried into a new machine as it is. Nothing else is; the timeline still has it.",
    )
    .action(async (reference: string, flags: RebuildFlags) => {
      const devcontainer = flags.devcontainer === (true as unknown) ? undefined : flags.devcontainer;
      const { ifNeeded = false } = flags;
      const workspace = await Workspace.connect(reference);
      const beganMs = performance.now();
      await interruptible((signal) => rebuildShown(workspace, { devcontainer, ifNeeded, signal }));
      workspace.close();
      if (flags.json) return printJson(workspace.info);
      printLine(`${workspace.name} is ready (${formatDuration(performance.now() - beganMs)}).`);
      printProblem(workspace.info);
    });
}

async function rebuildShown(workspace: Workspace, options: Parameters<Workspace["rebuild"]>[0]): Promise<void> {
  using display = createProgressDisplay();
  const steps = createStepReporter(display.progress);
  try {
    await workspace.rebuild({ ...options, onProgress: steps.report });
    steps.end("done");
  } catch (error) {
    steps.end("failed");
    throw error;
  }
}

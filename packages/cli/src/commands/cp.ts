import { DormouseError, formatBytes } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { copyIn } from "../copy/copy-in.ts";
import { copyOut } from "../copy/copy-out.ts";
import { interruptible, usageError } from "../exit.ts";
import { printLine } from "../output.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { createStepReporter } from "../step-reporter.ts";

export default function cp(command: Command): void {
  command
    .argument("<source>", "a path here, or workspace:path")
    .argument("<destination>", "a path here, or workspace:path")
    .addHelpText(
      "after",
      "\nFiles and folders, both ways, as cp -r does: into the destination when that is a folder, else as the\n" +
        "destination. A path in the machine that does not begin with / starts at the workspace's folder. A path here\n" +
        "that holds a colon is written ./like:this.",
    )
    .action(async (source: string, destination: string) => {
      const from = parseSide(source);
      const to = parseSide(destination);
      if (from.reference !== undefined && to.reference === undefined) {
        return await copy(from.reference, (workspace, context) =>
          copyOut(workspace, inMachine(workspace, from.path), to.path, context),
        );
      }
      if (from.reference === undefined && to.reference !== undefined) {
        return await copy(to.reference, (workspace, context) =>
          copyIn(workspace, from.path, inMachine(workspace, to.path), context),
        );
      }
      throw usageError("one of source and destination must be in a workspace, written workspace:path");
    });
}

interface CopyContext {
  signal: AbortSignal;
  onProgress: (bytes: number, totalBytes: number | undefined) => void;
}

async function copy(
  reference: string,
  work: (workspace: Workspace, context: CopyContext) => Promise<{ path: string; bytes: number }>,
): Promise<void> {
  const done = await interruptible(async (signal) => {
    const workspace = await Workspace.connect(reference);
    using display = createProgressDisplay();
    const steps = createStepReporter(display.progress);
    try {
      const onProgress = (bytes: number, total: number | undefined) =>
        steps.report({
          step: "copy",
          message: `Copying ${formatBytes(bytes)}`,
          fraction: total ? bytes / total : undefined,
        });
      const copied = await work(workspace, { signal, onProgress });
      steps.end("done");
      return copied;
    } catch (error) {
      steps.end("failed");
      throw signal.aborted ? DormouseError.from(signal.reason, "cancelled") : error;
    } finally {
      workspace.close();
    }
  });
  printLine(`${done.path} (${formatBytes(done.bytes)})`);
}

/** `name:path` is in a workspace; what begins with `/`, `.` or has a slash before the colon is a path here. */
function parseSide(text: string): { reference?: string; path: string } {
  const [, reference, path] = /^([a-z0-9][a-z0-9-]*):([\s\S]*)$/.exec(text) ?? [];
  return reference === undefined ? { path: text } : { reference, path: path || "." };
}

function inMachine(workspace: Workspace, path: string): string {
  return path.startsWith("/") ? path : `${workspace.folder}/${path}`.replace(/\/(\.\/)+/g, "/");
}

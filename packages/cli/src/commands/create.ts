import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { DormouseError, formatDuration } from "@dormouse/base";
import { Connection, type CreateOptions, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { openInBrowser } from "../browser.ts";
import { parseDuration } from "../duration.ts";
import { interruptible } from "../exit.ts";
import { openLocalRepository } from "../local-repository/open.ts";
import { addVariable } from "../options.ts";
import { paint, printJson, printLine } from "../output.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { createStepReporter } from "../step-reporter.ts";
import { printProblem } from "../workspace-view.ts";

interface CreateFlags {
  ref?: string;
  template?: string;
  devcontainer?: string | false;
  ttl?: string;
  name?: string;
  org?: string;
  env?: Record<string, string>;
  json?: boolean;
  open?: boolean;
}

export default function create(command: Command): void {
  command
    .argument("[repository]", "a git URL, or a folder of this machine with a repository")
    .option("--ref <ref>", "branch, tag or commit; default the repository's branch")
    .option("--template <name>", "what to start from", "base")
    .option("--devcontainer <name>", "which of its definitions: a folder under .devcontainer, or a path")
    .option("--no-devcontainer", "apply none of its definitions")
    .option("--ttl <time>", "delete it after this, e.g. 1h, 2d; default: keep")
    .option("--name <name>", "default: after the repository")
    .option("--org <name>", "whose it is; default DORMOUSE_ORG, what `dormouse org use` saved, or your own")
    .option("-e, --env <name=value>", "a variable for every process, may be given again", addVariable)
    .option("--open", "open its page in the browser")
    .option("--json", "print the workspace as JSON")
    .addHelpText(
      "after",
      "\nA folder's repository is brought with all branches, and with what is not committed. Ctrl-C deletes what is half made.",
    )
    .action(async (repository: string | undefined, flags: CreateFlags) => {
      const ttlSeconds = flags.ttl === undefined ? undefined : parseDuration("--ttl", flags.ttl);
      const { template, name, env, org: organisation } = flags;
      // Without either of the two options commander says true.
      const devcontainer = flags.devcontainer === (true as unknown) ? undefined : flags.devcontainer;
      const options: CreateOptions = { template, name, organisation, env, ttlSeconds, devcontainer };
      const beganMs = performance.now();
      const workspace = await interruptible((signal) => createShown(repository, flags.ref, { ...options, signal }));
      workspace.close();
      if (flags.json) printJson(workspace.info);
      else {
        printLine(`${paint("bold", workspace.name)} is ready (${formatDuration(performance.now() - beganMs)}).`);
        printLine(workspace.url);
        printProblem(workspace.info);
      }
      if (flags.open) await openInBrowser(workspace.url);
    });
}

async function createShown(repository: string | undefined, ref: string | undefined, options: CreateOptions) {
  const source = repository === undefined ? undefined : classifyRepository(repository);
  const connection = await Connection.open();
  using display = createProgressDisplay();
  const steps = createStepReporter(display.progress);
  try {
    const create = { ...options, connection, onProgress: steps.report };
    const workspace =
      source?.kind === "folder"
        ? await openLocalRepository(source.path, { ...create, ref })
        : await Workspace.create({ ...create, repository: source?.url, ref });
    steps.end("done");
    return workspace;
  } catch (error) {
    steps.end("failed");
    throw error;
  }
}

/**
 * Whether it is a folder here or an address elsewhere. A folder that is there wins.
 * @throws DormouseError `not_found` when it is neither.
 */
export function classifyRepository(text: string): { kind: "folder"; path: string } | { kind: "url"; url: string } {
  const path = text === "~" || text.startsWith("~/") ? join(homedir(), text.slice(1)) : text;
  if (existsSync(path)) return { kind: "folder", path };
  const isAddress = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) || /^[^/\s]+:[^\s]+$/.test(text);
  if (isAddress) return { kind: "url", url: text };
  throw new DormouseError(
    "not_found",
    `${text} is neither a folder here nor a git URL such as https://host/owner/name`,
  );
}

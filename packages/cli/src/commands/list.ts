import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { paint, printJson, printLine, printTable } from "../output.ts";
import { paintState } from "../workspace-view.ts";

export default function list(command: Command): void {
  command.option("--json", "print the list as JSON").action(async (options: { json?: boolean }) => {
    const workspaces = await Workspace.list();
    if (options.json) return printJson(workspaces);
    if (workspaces.length === 0) {
      return printLine(paint("dim", "No workspaces. `dormouse create REPO` opens a repository in one."));
    }
    printTable(
      ["NAME", "STATE", "REPOSITORY", "CREATED", "EXPIRES"],
      workspaces.map((workspace) => [
        workspace.name,
        paintState(workspace.state),
        workspace.repository ?? "-",
        relativeTime(workspace.createdAt),
        relativeTime(workspace.expiresAt),
      ]),
    );
  });
}

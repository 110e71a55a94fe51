import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { paint, printJson, printLine, printTable } from "../output.ts";
import { paintState } from "../workspace-view.ts";

export default function list(command: Command): void {
  command
    .option(
      "--org <name>",
      "of an organisation; everybody's, if you manage it. Default as for `create`, else all of yours",
    )
    .option("--json", "print the list as JSON")
    .action(async (options: { org?: string; json?: boolean }) => {
      const workspaces = await Workspace.list({ ...(options.org !== undefined && { organisation: options.org }) });
      if (options.json) return printJson(workspaces);
      if (workspaces.length === 0) {
        return printLine(paint("dim", "No workspaces. `dormouse create REPO` opens a repository in one."));
      }
      // Who has no others need not see what theirs are of.
      const isShared = workspaces.some(({ organisation }) => organisation !== "personal");
      printTable(
        ["NAME", ...(isShared ? ["ORGANISATION", "OWNER"] : []), "STATE", "REPOSITORY", "CREATED", "EXPIRES"],
        workspaces.map((workspace) => [
          workspace.name,
          ...(isShared ? [workspace.organisation, workspace.owner] : []),
          paintState(workspace.state),
          workspace.repository ?? "-",
          relativeTime(workspace.createdAt),
          relativeTime(workspace.expiresAt),
        ]),
      );
    });
}

import { formatDuration } from "@dormouse/base";
import type { WorkspaceInfo, WorkspaceState } from "@dormouse/sdk";
import { relativeTime } from "./duration.ts";
import { paint, printFields, printLine } from "./output.ts";

/** A state in its colour: green runs, red failed, blue sleeps, yellow is on its way. */
export function paintState(state: WorkspaceState): string {
  if (state === "running") return paint("green", state);
  if (state === "failed") return paint("red", state);
  return paint(state === "hibernated" ? "blue" : "yellow", state);
}

/** What of its definition could not be applied, if anything, and where to read on. */
export function printProblem({ name, devcontainer }: WorkspaceInfo): void {
  for (const note of devcontainer?.notes ?? []) printLine(paint("dim", note));
  const failed = devcontainer?.attached?.problem;
  if (failed) printLine(`${paint("red", "The last tool that attached:")} ${failed.message}`);
  if (!devcontainer?.problem) return;
  printLine(`${paint("red", "Its devcontainer.json was not applied in all:")} ${devcontainer.problem.message}`);
  printLine(paint("dim", `dormouse logs ${name} --setup shows how far it came; dormouse rebuild ${name} tries again.`));
}

/** All there is to say of a workspace. */
export function printWorkspace(info: WorkspaceInfo): void {
  const { resources } = info;
  printFields([
    ["name", info.name],
    ["id", info.id],
    ["state", paintState(info.state)],
    ...(info.reason === null ? [] : ([["reason", info.reason]] as const)),
    ["owner", info.owner],
    ["organisation", info.organisation],
    ["template", info.template],
    ["repository", info.repository ?? "-"],
    ...(info.ref === null ? [] : ([["ref", info.ref]] as const)),
    ["folder", info.folder],
    ...(info.devcontainer ? ([["definition", info.devcontainer.path ?? "none that could be used"]] as const) : []),
    ...(info.devcontainer?.vscode.extensions.length
      ? ([["extensions", `${info.devcontainer.vscode.extensions.join(", ")} (recommended)`]] as const)
      : []),
    ["machine", `${resources.vcpus} vCPU, ${resources.memoryMib} MiB memory, ${resources.diskGib} GiB disk`],
    ["isolation", info.isolation ?? "-"],
    ["created", `${info.createdAt} (${relativeTime(info.createdAt)})`],
    ["expires", info.expiresAt === null ? "never" : `${info.expiresAt} (${relativeTime(info.expiresAt)})`],
    ["snapshot", info.snapshotAt === null ? "none yet" : relativeTime(info.snapshotAt)],
    ["sleeps", describeSleep(info)],
    ...(info.deleteAfterSeconds === null
      ? []
      : ([["deleted", `after ${formatDuration(info.deleteAfterSeconds * 1000)} asleep`]] as const)),
    ...(info.forkedFrom === null ? [] : ([["forked from", info.forkedFrom.workspaceId]] as const)),
    ["page", info.url],
  ]);
}

function describeSleep({ hibernateAfterSeconds, keptAwakeBy }: WorkspaceInfo): string {
  if (hibernateAfterSeconds === null) return "only when asked to";
  const after = `after ${formatDuration(hibernateAfterSeconds * 1000)} idle`;
  return keptAwakeBy === null ? after : `${after}; kept awake by ${keptAwakeBy}`;
}

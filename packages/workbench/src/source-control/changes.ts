import type { GitFile, GitStatus } from "@dormouse/contract";

/** Groups of the Source Control view, in its order. */
export const groupIds = ["merge", "index", "workingTree", "untracked"] as const;
/** One of {@link groupIds}. */
export type GroupId = (typeof groupIds)[number];

/** What happened to a file, as the view shows it. */
export type ChangeKind =
  | "conflicting"
  | "indexModified"
  | "indexAdded"
  | "indexDeleted"
  | "indexRenamed"
  | "modified"
  | "added"
  | "deleted"
  | "renamed"
  | "untracked";

/** One row of the Source Control view. */
export interface Change {
  group: GroupId;
  kind: ChangeKind;
  /** Relative to the repository's root. */
  path: string;
  /** Where it lay before a rename. */
  originalPath: string | undefined;
}

/** The rows for a status, those of one group together, sorted by path. */
export function changesOf(status: Pick<GitStatus, "files">): Record<GroupId, Change[]> {
  const groups: Record<GroupId, Change[]> = { merge: [], index: [], workingTree: [], untracked: [] };
  for (const file of status.files) {
    for (const change of changesOfFile(file)) groups[change.group].push(change);
  }
  for (const group of groupIds) groups[group].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  return groups;
}

const indexKinds: Partial<Record<GitFile["index"], ChangeKind>> = {
  M: "indexModified",
  T: "indexModified",
  A: "indexAdded",
  D: "indexDeleted",
  R: "indexRenamed",
  C: "indexAdded",
};

const worktreeKinds: Partial<Record<GitFile["worktree"], ChangeKind>> = {
  M: "modified",
  T: "modified",
  A: "added",
  D: "deleted",
  R: "renamed",
  C: "added",
};

function changesOfFile(file: GitFile): Change[] {
  const base = { path: file.path, originalPath: file.originalPath };
  if (file.conflicted) return [{ ...base, group: "merge", kind: "conflicting" }];
  if (file.worktree === "?") return [{ ...base, group: "untracked", kind: "untracked" }];
  const indexKind = indexKinds[file.index];
  const worktreeKind = worktreeKinds[file.worktree];
  return [
    ...(indexKind ? [{ ...base, group: "index" as const, kind: indexKind }] : []),
    ...(worktreeKind ? [{ ...base, group: "workingTree" as const, kind: worktreeKind }] : []),
  ];
}

/** How a kind of change is shown beside a file's name. */
export interface ChangeLook {
  letter: string;
  tooltip: string;
  /** A theme colour, see `contributions.ts`. */
  color: string;
  isDeleted: boolean;
}

/** The look of each kind of change; the letters are git's. */
export const changeLooks: Readonly<Record<ChangeKind, ChangeLook>> = {
  conflicting: look("!", "Conflict", "conflicting"),
  indexModified: look("M", "Index Modified", "stageModified"),
  indexAdded: look("A", "Index Added", "added"),
  indexDeleted: look("D", "Index Deleted", "stageDeleted"),
  indexRenamed: look("R", "Index Renamed", "renamed"),
  modified: look("M", "Modified", "modified"),
  added: look("A", "Intent to Add", "added"),
  deleted: look("D", "Deleted", "deleted"),
  renamed: look("R", "Intent to Rename", "renamed"),
  untracked: look("U", "Untracked", "untracked"),
};

function look(letter: string, tooltip: string, color: string): ChangeLook {
  return { letter, tooltip, color: `gitDecoration.${color}ResourceForeground`, isDeleted: tooltip.includes("Deleted") };
}

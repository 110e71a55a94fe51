/** Commands that only make sense on a row of the Source Control view or beside a change, not in the palette. */
const rowCommands = [
  { command: "git.openChange", title: "Open Changes", icon: "$(git-compare)" },
  { command: "git.openFile", title: "Open File", icon: "$(go-to-file)" },
  { command: "git.stage", title: "Stage Changes", icon: "$(add)" },
  { command: "git.unstage", title: "Unstage Changes", icon: "$(remove)" },
  { command: "git.discard", title: "Discard Changes", icon: "$(discard)" },
  { command: "git.stageGroup", title: "Stage All Changes", icon: "$(add)" },
  { command: "git.unstageGroup", title: "Unstage All Changes", icon: "$(remove)" },
  { command: "git.discardGroup", title: "Discard All Changes", icon: "$(discard)" },
  { command: "git.diff.stageHunk", title: "Stage Block", icon: "$(plus)" },
  { command: "git.diff.stageSelection", title: "Stage Selection", icon: "$(plus)" },
];

const paletteCommands = [
  { command: "git.refresh", title: "Refresh", icon: "$(refresh)" },
  { command: "git.commit", title: "Commit", icon: "$(check)" },
  { command: "git.commitAmend", title: "Commit (Amend)" },
  { command: "git.commitAll", title: "Commit All" },
  { command: "git.stageAll", title: "Stage All Changes", icon: "$(add)" },
  { command: "git.unstageAll", title: "Unstage All Changes", icon: "$(remove)" },
  { command: "git.discardAll", title: "Discard All Changes", icon: "$(discard)" },
  { command: "git.stageActive", title: "Stage Changes of This File" },
  { command: "git.stageSelectedRanges", title: "Stage Selected Ranges" },
  { command: "git.unstageSelectedRanges", title: "Unstage Selected Ranges" },
  { command: "git.revertSelectedRanges", title: "Revert Selected Ranges" },
  { command: "git.openActiveChange", title: "Open Changes of This File", icon: "$(git-compare)" },
  { command: "git.viewFileHistory", title: "View File History" },
  { command: "git.toggleBlame", title: "Toggle Blame of This File" },
  { command: "git.stash", title: "Stash" },
  { command: "git.stashIncludeUntracked", title: "Stash (Include Untracked)" },
  { command: "git.stashPop", title: "Pop Stash..." },
  { command: "git.stashPopLatest", title: "Pop Latest Stash" },
  { command: "git.stashApply", title: "Apply Stash..." },
  { command: "git.stashDrop", title: "Drop Stash..." },
  { command: "git.acceptCurrent", title: "Accept Current Change" },
  { command: "git.acceptIncoming", title: "Accept Incoming Change" },
  { command: "git.acceptBoth", title: "Accept Both Changes" },
  { command: "git.acceptAllCurrent", title: "Accept All Current Changes in This File" },
  { command: "git.acceptAllIncoming", title: "Accept All Incoming Changes in This File" },
  { command: "git.checkoutPullRequest", title: "Checkout Pull Request..." },
  { command: "git.checkout", title: "Checkout to..." },
  { command: "git.createBranch", title: "Create Branch..." },
  { command: "git.deleteBranch", title: "Delete Branch..." },
  { command: "git.fetch", title: "Fetch" },
  { command: "git.pull", title: "Pull" },
  { command: "git.pullRebase", title: "Pull (Rebase)" },
  { command: "git.push", title: "Push" },
  { command: "git.pushForce", title: "Push (Force with Lease)" },
  { command: "git.publish", title: "Publish Branch" },
  { command: "git.sync", title: "Sync" },
  { command: "git.init", title: "Initialize Repository" },
  { command: "git.showOutput", title: "Show Git Output" },
];

const category = "Git";
const isOurs = "scmProvider == git";
const isIndexOnTheLeft = "diffEditorOriginalUri =~ /^git:.*%22ref%22%3A%22%3A%22/";
const inGroup = (group: string) => `${isOurs} && scmResourceGroup == ${group}`;

function rowMenu(group: string, commands: string[]) {
  return commands.flatMap((command, index) => [
    { command, when: inGroup(group), group: `inline@${index + 1}` },
    { command, when: inGroup(group), group: `1_modification@${index + 1}` },
  ]);
}

/** What source control adds to the editor's menus, palette, keys, settings and colours. */
export const sourceControlContributions = {
  commands: [...rowCommands, ...paletteCommands].map((command) => ({ ...command, category })),
  keybindings: [
    { command: "git.stageSelectedRanges", key: "ctrl+k ctrl+alt+s", when: "editorTextFocus" },
    { command: "git.unstageSelectedRanges", key: "ctrl+k ctrl+n", when: "editorTextFocus && resourceScheme == git" },
    { command: "git.revertSelectedRanges", key: "ctrl+k ctrl+r", when: "editorTextFocus && resourceScheme == file" },
    { command: "git.openActiveChange", key: "ctrl+k ctrl+d", when: "editorTextFocus" },
  ],
  menus: {
    commandPalette: rowCommands.map(({ command }) => ({ command, when: "false" })),
    "scm/title": [
      { command: "git.commit", group: "navigation@1", when: isOurs },
      { command: "git.refresh", group: "navigation@2", when: isOurs },
      ...["git.pull", "git.push", "git.sync", "git.fetch"].map((command, index) => ({
        command,
        group: `1_sync@${index + 1}`,
        when: isOurs,
      })),
      ...["git.checkout", "git.createBranch", "git.deleteBranch", "git.publish"].map((command, index) => ({
        command,
        group: `2_branch@${index + 1}`,
        when: isOurs,
      })),
      ...["git.commitAll", "git.commitAmend"].map((command, index) => ({
        command,
        group: `3_commit@${index + 1}`,
        when: isOurs,
      })),
      ...["git.stageAll", "git.unstageAll", "git.discardAll"].map((command, index) => ({
        command,
        group: `4_changes@${index + 1}`,
        when: isOurs,
      })),
      ...[
        "git.stash",
        "git.stashIncludeUntracked",
        "git.stashPopLatest",
        "git.stashPop",
        "git.stashApply",
        "git.stashDrop",
      ].map((command, index) => ({ command, group: `5_stash@${index + 1}`, when: isOurs })),
      { command: "git.checkoutPullRequest", group: "2_branch@5", when: isOurs },
      { command: "git.showOutput", group: "6_output", when: isOurs },
    ],
    // Beside the changes of a comparison of the index with the file.
    "diffEditor/gutter/hunk": [{ command: "git.diff.stageHunk", group: "primary@10", when: isIndexOnTheLeft }],
    "diffEditor/gutter/selection": [
      { command: "git.diff.stageSelection", group: "primary@10", when: isIndexOnTheLeft },
    ],
    "editor/context": [
      { command: "git.stageSelectedRanges", group: "2_git@1", when: "isInDiffRightEditor && resourceScheme == file" },
      { command: "git.revertSelectedRanges", group: "2_git@2", when: "isInDiffRightEditor && resourceScheme == file" },
      { command: "git.unstageSelectedRanges", group: "2_git@3", when: "isInDiffRightEditor && resourceScheme == git" },
    ],
    "scm/resourceGroup/context": [
      ...rowMenu("merge", ["git.stageGroup"]),
      ...rowMenu("index", ["git.unstageGroup"]),
      ...rowMenu("workingTree", ["git.discardGroup", "git.stageGroup"]),
      ...rowMenu("untracked", ["git.discardGroup", "git.stageGroup"]),
    ],
    "scm/resourceState/context": [
      ...rowMenu("merge", ["git.openFile", "git.stage"]),
      ...rowMenu("index", ["git.openFile", "git.unstage"]),
      ...rowMenu("workingTree", ["git.openFile", "git.discard", "git.stage"]),
      ...rowMenu("untracked", ["git.discard", "git.stage"]),
      ...["index", "workingTree"].map((group) => ({
        command: "git.openChange",
        when: inGroup(group),
        group: "navigation@1",
      })),
    ],
    "scm/resourceFolder/context": [
      ...rowMenu("index", ["git.unstage"]),
      ...rowMenu("workingTree", ["git.discard", "git.stage"]),
      ...rowMenu("untracked", ["git.discard", "git.stage"]),
    ],
  },
  configuration: {
    title: "Git",
    properties: {
      "git.enableSmartCommit": {
        type: "boolean",
        default: false,
        description: "Commit all changes when there are no staged changes.",
      },
      "git.suggestSmartCommit": {
        type: "boolean",
        default: true,
        description: "Suggest to commit all changes when there are no staged changes.",
      },
      "git.confirmSync": { type: "boolean", default: true, description: "Confirm before synchronizing repositories." },
    },
  },
  colors: [
    color("addedResourceForeground", "added resources", { dark: "#81b88b", light: "#587c0c", highContrast: "#a1e3ad" }),
    color("modifiedResourceForeground", "modified resources", {
      dark: "#E2C08D",
      light: "#895503",
      highContrast: "#E2C08D",
    }),
    color("deletedResourceForeground", "deleted resources", {
      dark: "#c74e39",
      light: "#ad0707",
      highContrast: "#c74e39",
    }),
    color("renamedResourceForeground", "renamed or copied resources", {
      dark: "#73C991",
      light: "#007100",
      highContrast: "#73C991",
    }),
    color("untrackedResourceForeground", "untracked resources", {
      dark: "#73C991",
      light: "#007100",
      highContrast: "#73C991",
    }),
    color("conflictingResourceForeground", "resources with conflicts", {
      dark: "#e4676b",
      light: "#ad0707",
      highContrast: "#c74e39",
    }),
    color("stageModifiedResourceForeground", "modified resources which have been staged", {
      dark: "#E2C08D",
      light: "#895503",
      highContrast: "#E2C08D",
    }),
    color("stageDeletedResourceForeground", "deleted resources which have been staged", {
      dark: "#c74e39",
      light: "#ad0707",
      highContrast: "#c74e39",
    }),
  ],
};

function color(name: string, what: string, defaults: { dark: string; light: string; highContrast: string }) {
  return {
    id: `gitDecoration.${name}`,
    description: `Color for ${what}.`,
    defaults: { ...defaults, highContrastLight: defaults.light },
  };
}

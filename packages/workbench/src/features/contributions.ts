/** What the page's own functions, apart from source control, add to the palette and the keys. */
export const workspaceContributions = {
  commands: [
    { command: "dormouse.showWorkspace", title: "Show Workspace", category: "Dormouse" },
    { command: "dormouse.openList", title: "Open List of Workspaces", category: "Dormouse" },
    { command: "dormouse.hibernate", title: "Hibernate Workspace", category: "Dormouse" },
    { command: "dormouse.wake", title: "Wake Workspace", category: "Dormouse" },
    { command: "dormouse.showTimeline", title: "Show Timeline", category: "Dormouse" },
    { command: "dormouse.showEgress", title: "Show What Was Refused to Leave", category: "Dormouse" },
    { command: "dormouse.takeSnapshot", title: "Take Snapshot", category: "Dormouse" },
    { command: "dormouse.fork", title: "Fork Workspace", category: "Dormouse" },
    { command: "dormouse.rebuild", title: "Rebuild Workspace", category: "Dormouse" },
    { command: "dormouse.showSetUpLog", title: "Show Set-Up Log", category: "Dormouse" },
    { command: "dormouse.showRecommendedExtensions", title: "Show Recommended Extensions", category: "Dormouse" },
    { command: "dormouse.showOpening", title: "Show How This Page Opened", category: "Dormouse" },
    { command: "dormouse.reconnect", title: "Reconnect Now", category: "Dormouse" },
    { command: "dormouse.nextChange", title: "Go to Next Change", category: "Git" },
    { command: "dormouse.previousChange", title: "Go to Previous Change", category: "Git" },
    { command: "dormouse.revertChange", title: "Revert Change at Cursor", category: "Git" },
    { command: "dormouse.copyLink", title: "Copy Link to This File", category: "Dormouse" },
  ],
  keybindings: [
    { command: "dormouse.nextChange", key: "alt+f3", when: "editorTextFocus" },
    { command: "dormouse.previousChange", key: "shift+alt+f3", when: "editorTextFocus" },
  ],
};

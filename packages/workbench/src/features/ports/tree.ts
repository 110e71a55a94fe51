import type { ForwardedPort } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api } from "../../vscode/extension.ts";
import { portsView } from "./contributions.ts";
import type { PortList } from "./port-list.ts";

const visibilityIcons: Readonly<Record<ForwardedPort["visibility"], string>> = {
  private: "lock",
  organisation: "organization",
  public: "globe",
};

/** The Ports view in the panel: a row for each port. */
export function createPortsTree(api: Api, list: PortList): vscode.Disposable {
  const changed = new api.EventEmitter<void>();
  const provider: vscode.TreeDataProvider<ForwardedPort> = {
    onDidChangeTreeData: changed.event,
    getChildren: (parent) => (parent ? [] : list.ports.filter(isShown)),
    getTreeItem: (port) => toItem(api, port),
  };
  const view = api.window.createTreeView(portsView, { treeDataProvider: provider });
  list.onChange(() => {
    changed.fire();
    const count = list.ports.filter((port) => port.isListening && isShown(port)).length;
    view.badge = count === 0 ? undefined : { value: count, tooltip: count === 1 ? "1 port" : `${count} ports` };
  });
  // Other pages and programs change what is set too.
  view.onDidChangeVisibility(({ visible }) => visible && void list.refresh());
  return api.Disposable.from(changed, view);
}

/** What a definition wants ignored is no row of the list, unless somebody has set something for it. */
function isShown({ onAutoForward, visibility }: ForwardedPort): boolean {
  return onAutoForward !== "ignore" || visibility !== "private";
}

function toItem(api: Api, port: ForwardedPort): vscode.TreeItem {
  const { label, process, isListening, isForwarded, visibility, protocol, url } = port;
  const item = new api.TreeItem(label === null ? String(port.port) : `${label} (${port.port})`);
  item.id = String(port.port);
  item.contextValue = isForwarded ? "forwarded" : "stopped";
  item.description = [
    isListening ? process : "nothing listens",
    isForwarded ? visibility : "not forwarded",
    ...(protocol === "http" ? [] : [protocol]),
    isForwarded && url,
  ]
    .filter(Boolean)
    .join("  ·  ");
  const icon = isForwarded ? visibilityIcons[visibility] : "circle-slash";
  const colour = isListening ? "ports.iconRunningProcessForeground" : "disabledForeground";
  item.iconPath = new api.ThemeIcon(icon, new api.ThemeColor(colour));
  item.tooltip = [
    `Port ${port.port}${isListening ? ` on ${port.address}, process ${port.pid ?? "unknown"}` : ""}`,
    `Visibility: ${visibility}`,
    url,
  ]
    .filter(Boolean)
    .join("\n");
  if (isForwarded && url) item.command = { command: "dormouse.openPort", title: "Open in Browser", arguments: [port] };
  item.accessibilityInformation = { label: `Port ${port.port}, ${item.description}` };
  return item;
}

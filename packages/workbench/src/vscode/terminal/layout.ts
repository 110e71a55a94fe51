import type { ITerminalsLayoutInfoById } from "@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal";

/** How terminals are arranged, by the machine's names for them. */
export interface TerminalLayout {
  tabs: { isActive: boolean; active: string | undefined; panes: { pty: string; relativeSize: number }[] }[];
}

/** Keeps the arrangement of a workspace's terminals in this browser. */
export interface LayoutStore {
  load(): TerminalLayout;
  save(layout: TerminalLayout): void;
}

/** The store of one workspace. A browser that refuses storage only loses the arrangement. */
export function layoutStore(workspaceId: string, storage: Pick<Storage, "getItem" | "setItem">): LayoutStore {
  const key = `dormouse.terminals.${workspaceId}`;
  return {
    load() {
      try {
        const layout = JSON.parse(storage.getItem(key) ?? "null") as TerminalLayout | null;
        return Array.isArray(layout?.tabs) ? layout : { tabs: [] };
      } catch {
        return { tabs: [] };
      }
    },
    save(layout) {
      try {
        storage.setItem(key, JSON.stringify(layout));
      } catch {
        // Storage is full or forbidden; terminals come back as separate tabs then.
      }
    },
  };
}

/** The arrangement the editor tells, with its numbers replaced by the machine's names. */
export function toLayout(info: ITerminalsLayoutInfoById, ptyOf: (id: number) => string | undefined): TerminalLayout {
  const tabs = info.tabs.map((tab) => ({
    isActive: tab.isActive,
    active: tab.activePersistentProcessId === undefined ? undefined : ptyOf(tab.activePersistentProcessId),
    panes: tab.terminals.flatMap(({ terminal, relativeSize }) => {
      const pty = ptyOf(terminal);
      return pty ? [{ pty, relativeSize }] : [];
    }),
  }));
  return { tabs: tabs.filter((tab) => tab.panes.length > 0) };
}

/** The arrangement without terminals that are gone, and with a tab for each one that it does not know. */
export function arrange(layout: TerminalLayout, living: readonly string[]): TerminalLayout {
  const unknown = new Set(living);
  const tabs = layout.tabs.map((tab) => ({ ...tab, panes: tab.panes.filter(({ pty }) => unknown.delete(pty)) }));
  const added = [...unknown].map((pty) => ({ isActive: false, active: pty, panes: [{ pty, relativeSize: 1 }] }));
  return { tabs: [...tabs.filter((tab) => tab.panes.length > 0), ...added] };
}

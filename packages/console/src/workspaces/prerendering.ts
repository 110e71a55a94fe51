import { browserStorage, type Workspace } from "@dormouse/contract";
import { useEffect } from "preact/hooks";

/**
 * Lets the browser build the editor's page before it is asked for: at once that of the workspace that will most likely be
 * opened next, others when the pointer rests on their link. Nothing wakes by it; browsers that cannot do it do nothing.
 */
export function usePrerendering(workspaces: readonly Workspace[] | undefined): void {
  const name = workspaces && likelyNext(workspaces, localStorage.getItem(browserStorage.lastOpened));
  useEffect(() => {
    if (name === undefined || !HTMLScriptElement.supports?.("speculationrules")) return;
    const rules = document.createElement("script");
    rules.type = "speculationrules";
    rules.textContent = JSON.stringify({
      prerender: [
        { urls: [`/w/${name}`], eagerness: "immediate" },
        { where: { href_matches: "/w/*" }, eagerness: "moderate" },
      ],
    });
    document.head.append(rules);
    return () => rules.remove();
  }, [name]);
}

/** The one opened last, or else the newest, of those that can be opened without being set up first. */
export function likelyNext(
  workspaces: readonly Pick<Workspace, "name" | "state">[],
  lastOpened: string | null,
): string | undefined {
  const ready = workspaces.filter(({ state }) => state === "running" || state === "hibernated");
  return (ready.find(({ name }) => name === lastOpened) ?? ready[0])?.name;
}

import type { Workspace } from "@dormouse/contract";
import { useCallback, useEffect, useState } from "preact/hooks";
import { api, messageOf, redirectIfSignedOut } from "../api.ts";

/** While something is on its way the list is looked at more often. */
const busyMs = 1_000;
const calmMs = 5_000;
const settled = new Set<Workspace["state"]>(["running", "hibernated", "failed"]);

/** The workspaces, all of one's own or those in an organisation, newest first and kept up to date while the page is visible; undefined until they are known. */
export function useWorkspaces(organisation: string | undefined) {
  const [workspaces, setWorkspaces] = useState<Workspace[]>();
  const [problem, setProblem] = useState<string>();
  const [nowMs, setNowMs] = useState(Date.now());

  const refresh = useCallback(async () => {
    try {
      const answer = await api.workspaces.list({ organisation });
      setWorkspaces(answer.workspaces.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)));
      setProblem(undefined);
    } catch (caught) {
      if (!redirectIfSignedOut(caught)) setProblem(messageOf(caught));
    }
    setNowMs(Date.now());
  }, [organisation]);

  const isBusy = workspaces?.some(({ state }) => !settled.has(state)) ?? false;
  // Those of another organisation are not shown until its own are known.
  useEffect(() => setWorkspaces(undefined), [organisation]);
  useEffect(() => {
    void refresh();
    const look = () => {
      if (document.visibilityState === "visible") void refresh();
    };
    const timer = setInterval(look, isBusy ? busyMs : calmMs);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [refresh, isBusy]);

  return { workspaces, problem, nowMs, refresh };
}

import { browserStorage, type Organisation } from "@dormouse/contract";
import { useCallback, useEffect, useState } from "preact/hooks";
import { api } from "../api.ts";

/** The organisations that one is in, and the one whose workspaces are shown; none is: all of one's own are. */
export function useOrganisations() {
  const [organisations, setOrganisations] = useState<readonly Organisation[]>([]);
  const [name, setName] = useState(() => localStorage.getItem(browserStorage.organisation));

  const choose = useCallback((next: string | undefined) => {
    setName(next ?? null);
    if (next === undefined) localStorage.removeItem(browserStorage.organisation);
    else localStorage.setItem(browserStorage.organisation, next);
  }, []);
  const refresh = useCallback(async () => {
    // The list of workspaces tells what is wrong.
    await api.organisations.list({}).then(
      (answer) => setOrganisations(answer.organisations),
      () => undefined,
    );
  }, []);
  useEffect(() => void refresh(), [refresh]);

  // One that was left or deleted meanwhile is none.
  const chosen = organisations.find((each) => each.name === name);
  return { organisations, chosen, choose, refresh };
}

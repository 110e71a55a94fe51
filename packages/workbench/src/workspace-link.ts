import { DormouseError, sleep } from "@dormouse/base";
import type { Workspace } from "@dormouse/contract";
import type { Api } from "./api.ts";

/**
 * What a page knows of its workspace while it is open.
 * live: connected or about to be. asleep: waits for the user. failed, deleted, signedOut: need the user.
 */
export type LinkState =
  /** `note`: what happened to it, should its machine have gone back to a snapshot. */
  | { kind: "live"; note?: string }
  | { kind: "waiting"; message: string }
  | { kind: "asleep" }
  | { kind: "failed"; reason: string }
  | { kind: "deleted" }
  | { kind: "signedOut" };

/** Decides whether a lost connection should be made again, so that a sleeping workspace is not woken by an open page. */
export interface WorkspaceLink {
  readonly state: LinkState;
  onState(listener: (state: LinkState) => void): () => void;
  /** For the channel: resolves when an attempt makes sense. */
  beforeRetry(signal: AbortSignal): Promise<void>;
  /** The user wants the workspace: wakes it, or starts it again when it failed. */
  want(): void;
}

const lookAgainMs = 1_000;

/**
 * The link of one page to its workspace.
 * @param running resolves once the workspace runs for the first time.
 */
export function workspaceLink(
  api: Api,
  workspace: Pick<Workspace, "id">,
  running: Promise<Pick<Workspace, "reason">>,
): WorkspaceLink {
  const listeners = new Set<(state: LinkState) => void>();
  let state: LinkState = { kind: "waiting", message: "waking" };
  let note: string | undefined;
  let wanted = Promise.withResolvers<void>();

  const setState = (next: LinkState) => {
    if (JSON.stringify(next) === JSON.stringify(state)) return;
    state = next;
    for (const listener of [...listeners]) listener(next);
  };
  const untilWanted = (signal: AbortSignal) =>
    Promise.race([
      wanted.promise,
      new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
    ]);

  /** Whether a connection can be attempted now; otherwise the state says what it waits for. */
  const look = async (signal: AbortSignal): Promise<boolean> => {
    const current = await api.workspaces.get({ workspace: workspace.id }, { signal });
    switch (current.state) {
      case "running":
        note = current.reason ?? undefined;
        return true;
      case "hibernated":
        setState({ kind: "asleep" });
        break;
      case "failed":
        setState({ kind: "failed", reason: current.reason ?? "its machine stopped" });
        break;
      case "deleting":
        setState({ kind: "deleted" });
        break;
      default:
        setState({ kind: "waiting", message: current.reason ?? current.state });
        await sleep(lookAgainMs, signal);
        return false;
    }
    await untilWanted(signal);
    wanted = Promise.withResolvers();
    setState({ kind: "waiting", message: "waking" });
    await api.workspaces.wake({ workspace: workspace.id }, { signal });
    return false;
  };

  const setLive = () => setState(note === undefined ? { kind: "live" } : { kind: "live", note });
  void running.then(
    ({ reason }) => {
      note = reason ?? undefined;
      setLive();
    },
    // Told by the page itself.
    () => {},
  );

  return {
    get state() {
      return state;
    },
    onState(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async beforeRetry(signal) {
      wanted = Promise.withResolvers();
      for (;;) {
        try {
          if (await look(signal)) break;
        } catch (caught) {
          if (signal.aborted) throw caught;
          const error = DormouseError.from(caught, "unavailable");
          if (error.code === "not_found") setState({ kind: "deleted" });
          else if (error.code === "unauthenticated") setState({ kind: "signedOut" });
          // Control cannot be asked: the attempt itself will show whether the machine can be reached.
          else if (error.code === "unavailable") break;
          else setState({ kind: "failed", reason: error.message });
          if (state.kind !== "live") await untilWanted(signal);
          wanted = Promise.withResolvers();
        }
      }
      setLive();
    },
    want: () => wanted.resolve(),
  };
}

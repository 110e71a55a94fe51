import { DormouseError } from "@dormouse/base";
import { browserStorage } from "@dormouse/contract";
import { parseAddress } from "../address.ts";
import { type Api, connectApi } from "../api.ts";
import { type BootScreen, showBootScreen } from "./boot-screen.ts";
import { hasRun, untilRunning } from "./readiness.ts";
import { whenShown } from "./shown.ts";
import { markStep, traceFirstKey } from "./trace.ts";

/** Opens the workspace that the page's address names. Whatever stands in the way is shown with what can be done. */
export async function openPage(): Promise<void> {
  const screen = showBootScreen(document.body);
  const address = parseAddress(new URL(location.href));
  if (!address) {
    screen.problem("No workspace", "This address names no workspace.", [openList]);
    return;
  }
  document.title = address.workspace;
  screen.progress(address.workspace, "Connecting");
  // The editor is by far the largest part; it loads while the workspace gets ready.
  const editor = import("../workbench.ts");
  const api = connectApi();
  let hasProblem = false;
  const onVisible = () => {
    if (!hasProblem) screen.remove();
  };
  try {
    traceFirstKey();
    const reference = { workspace: address.workspace };
    const [found, settings, extensions] = await Promise.all([
      api.workspaces.get(reference),
      api.me.settings({}),
      api.me.extensions({}),
    ]);
    markStep("workspace known");
    const running = whenShown().then(async (isLater) =>
      untilRunning(api, isLater ? await api.workspaces.get(reference) : found, screen),
    );
    // Awaited below, where a rejection counts; until then it is nobody's.
    running.catch(() => {});
    // The editor of a workspace that sleeps is built while its machine wakes.
    const workspace = hasRun(found) ? found : await running;
    void running.then(() => {
      markStep("machine runs");
      localStorage.setItem(browserStorage.lastOpened, workspace.name);
    });
    screen.progress(workspace.name, "Loading the editor");
    const { openWorkbench } = await editor;
    markStep("editor's code loaded");
    const opened = openWorkbench({ api, workspace, running, settings, extensions, file: address.file, onVisible });
    await Promise.all([opened, running]);
    // For scripts that drive the page.
    document.documentElement.dataset.workbench = "ready";
  } catch (caught) {
    hasProblem = true;
    screen.show();
    showProblem(screen, api, address.workspace, DormouseError.from(caught, "unknown"));
  }
}

const openList = { label: "All Workspaces", run: () => location.assign("/") };
const retry = { label: "Try Again", run: () => location.reload(), isPrimary: true };

function showProblem(screen: BootScreen, api: Api, reference: string, error: DormouseError): void {
  switch (error.code) {
    case "unauthenticated":
      location.replace(`/signin?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
      return;
    case "not_found":
      screen.problem(reference, `There is no workspace "${reference}", or it is not yours.`, [
        { ...openList, isPrimary: true },
      ]);
      return;
    case "failed_precondition":
      screen.problem(reference, error.message, [
        {
          label: "Start Again",
          isPrimary: true,
          run: () => void act(screen, "Starting again", () => api.workspaces.wake({ workspace: reference })),
        },
        openList,
        {
          label: "Delete",
          run: () => {
            if (!confirm(`Delete ${reference} and everything in it?`)) return;
            void act(screen, "Deleting", () => api.workspaces.delete({ workspace: reference }), "/");
          },
        },
      ]);
      return;
    default:
      screen.problem(reference, error.message, [retry, openList]);
  }
}

/** Does what the user chose, then opens `next` or this page again. */
async function act(screen: BootScreen, message: string, work: () => Promise<unknown>, next?: string): Promise<void> {
  screen.progress(document.title, message);
  try {
    await work();
    if (next) location.assign(next);
    else location.reload();
  } catch (caught) {
    screen.problem(document.title, DormouseError.from(caught).message, [retry, openList]);
  }
}

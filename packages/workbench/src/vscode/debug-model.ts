import { StandaloneServices } from "@codingame/monaco-vscode-api";
import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import type { IBreakpointData } from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/debug/common/debug";
import { IDebugService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/debug/common/debug.service";
import { ILifecycleService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/lifecycle/common/lifecycle.service";
import type { DebugBreakpoints } from "@dormouse/contract";
import { toEditorPath } from "../paths.ts";

/** What the editor itself keeps about debugging. */
export interface DebugModel {
  /** The editor goes away and says goodbye to its sessions, which they are not to hear. */
  readonly isLeaving: boolean;
  /** Adds those of a session that the editor does not have. */
  addBreakpoints(breakpoints: DebugBreakpoints): void;
}

interface Breakpoint {
  line?: number;
  column?: number;
  name?: string;
  condition?: string;
  hitCondition?: string;
  logMessage?: string;
}

/** Call once the workbench stands. */
export function debugModel(): DebugModel {
  const debug = StandaloneServices.get(IDebugService);
  let isLeaving = false;
  StandaloneServices.get(ILifecycleService).onWillShutdown(() => {
    isLeaving = true;
  });
  return {
    get isLeaving() {
      return isLeaving;
    },
    addBreakpoints({ sources, functions }) {
      const model = debug.getModel();
      for (const { source, breakpoints } of sources as { source?: { path?: string }; breakpoints?: Breakpoint[] }[]) {
        if (!source?.path) continue;
        const uri = URI.file(toEditorPath(source.path));
        const known = new Set(model.getBreakpoints({ uri }).map(({ lineNumber }) => lineNumber));
        const missing = (breakpoints ?? []).filter(({ line }) => line !== undefined && !known.has(line));
        if (missing.length > 0) void debug.addBreakpoints(uri, missing.map(dataOf), false);
      }
      const named = new Set(model.getFunctionBreakpoints().map(({ name }) => name));
      for (const { name, condition, hitCondition } of (functions?.breakpoints ?? []) as Breakpoint[]) {
        if (name && !named.has(name)) debug.addFunctionBreakpoint({ name, condition, hitCondition });
      }
    },
  };
}

function dataOf({ line = 1, column, condition, hitCondition, logMessage }: Breakpoint): IBreakpointData {
  return { lineNumber: line, column, condition, hitCondition, logMessage, enabled: true };
}

import { DormouseError } from "@dormouse/base";
import type { DebuggableProcess } from "@dormouse/contract";
import type { Guest } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";

/** How a debugger is told which process, or which port, is meant. */
const debuggers: Readonly<
  Record<string, { label: string; process: (pid: number) => object; port?: (port: number) => object }>
> = {
  node: {
    label: "Node.js",
    process: (pid) => ({ processId: String(pid), skipFiles: ["<node_internals>/**"] }),
    port: (port) => ({ port, skipFiles: ["<node_internals>/**"] }),
  },
  debugpy: {
    label: "Python",
    process: (pid) => ({ processId: pid }),
    port: (port) => ({ connect: { host: "127.0.0.1", port } }),
  },
  go: {
    label: "Go",
    process: (pid) => ({ mode: "local", processId: pid }),
    port: (port) => ({ mode: "remote", host: "127.0.0.1", port }),
  },
  gdb: {
    label: "GDB (C, C++, Rust)",
    process: (pid) => ({ pid }),
    port: (port) => ({ target: `127.0.0.1:${port}` }),
  },
};

/** The debugger that a program's name speaks for. */
export function debuggerOfProcess({ command }: Pick<DebuggableProcess, "command">): string | undefined {
  const name = command[0]?.split("/").at(-1) ?? "";
  if (/^(node|nodejs|npm|npx)$/.test(name)) return "node";
  if (/^python[\d.]*$/.test(name)) return "debugpy";
  return undefined;
}

/** Lets the user choose a process of the machine; undefined when the list is left. */
export async function pickProcess(api: Api, guest: Guest): Promise<DebuggableProcess | undefined> {
  const items = guest.debug.processes({}).then(({ processes }) =>
    processes.map((process) => ({
      label: process.command[0]?.split("/").at(-1) ?? "",
      description: String(process.pid),
      detail: process.command.join(" ").slice(0, 300),
      process,
    })),
  );
  const options = { title: "Process to attach to", matchOnDescription: true, matchOnDetail: true };
  return (await api.window.showQuickPick(items, options))?.process;
}

/** Asks for a process and, where its name does not say it, for the debugger, and attaches. */
export async function attachToProcess(api: Api, guest: Guest): Promise<void> {
  const process = await pickProcess(api, guest);
  if (!process) return;
  const type = debuggerOfProcess(process) ?? (await pickDebugger(api));
  const wanted = type && debuggers[type]?.process(process.pid);
  if (wanted) await start(api, type, `Attach to ${process.pid}`, wanted);
}

/** Asks for a port that a debugger's other half listens on, and attaches. */
export async function attachToPort(api: Api): Promise<void> {
  const type = await pickDebugger(api);
  if (!type) return;
  const text = await api.window.showInputBox({
    title: "Port to attach to",
    prompt: "Where the program waits for a debugger in the machine.",
    validateInput: (value) => (isPort(value) ? undefined : "A port is a number from 1 to 65535."),
  });
  const wanted = text && debuggers[type]?.port?.(Number(text));
  if (wanted) await start(api, type, `Attach to Port ${text}`, wanted);
}

async function pickDebugger(api: Api): Promise<string | undefined> {
  const items = Object.entries(debuggers).map(([type, { label }]) => ({ label, type }));
  return (await api.window.showQuickPick(items, { title: "Debugger" }))?.type;
}

async function start(api: Api, type: string, name: string, more: object): Promise<void> {
  try {
    await api.debug.startDebugging(api.workspace.workspaceFolders?.[0], { type, request: "attach", name, ...more });
  } catch (caught) {
    void api.window.showErrorMessage(DormouseError.from(caught).message);
  }
}

function isPort(value: string): boolean {
  const port = Number(value);
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

import { DormouseError } from "@dormouse/base";
import type { DebugConfiguration } from "@dormouse/contract/debug-schemas";

/** Where the machine has its debuggers, as the user's processes see it. */
export interface DebugTools {
  /** Folder with `js-debug`, `debugpy`, `gdb`, `dlv`, their loader and libraries. */
  folder: string;
  /** Runs js-debug; default is the Node in that folder. */
  node?: string | undefined;
}

/** How an adapter is started, or where it runs already. */
export interface AdapterStart {
  command: string[];
  /** It listens there in the machine; there is nothing to start. */
  address?: { host: string; port: number };
  env?: Record<string, string>;
  /** It listens here, once for each session; otherwise it speaks through its standard streams. */
  socket?: string;
  /** What the adapter itself calls the type. */
  type: string;
  /** For messages, e.g. `python3`, without which it does not start. */
  needs?: string;
}

/** Names of the same debugger in launch.json files; the first one is our own. */
const types: Readonly<Record<string, "node" | "python" | "gdb" | "go">> = {
  node: "node",
  "pwa-node": "node",
  debugpy: "python",
  python: "python",
  gdb: "gdb",
  cppdbg: "gdb",
  go: "go",
};

/**
 * The adapter for a configuration.
 * @param socket a path that nothing has, for one that listens.
 * @throws DormouseError `invalid_argument` for a type that none is for.
 */
export function adapterFor(configuration: DebugConfiguration, tools: DebugTools, socket: string): AdapterStart {
  const { folder } = tools;
  const own = (program: string) => [`${folder}/lib/loader`, "--library-path", `${folder}/lib`, program];
  switch (types[configuration.type]) {
    case "node":
      return {
        command: [
          ...(tools.node ? [tools.node] : own(`${folder}/node`)),
          `${folder}/js-debug/vsDebugServer.cjs`,
          socket,
        ],
        socket,
        type: "pwa-node",
      };
    case "python": {
      // What `debugpy --listen` opens is an adapter itself.
      const address = addressOf(configuration.connect) ?? addressOf(configuration);
      if (configuration.request === "attach" && address) return { command: [], address, type: "debugpy" };
      // The adapter runs in what it debugs: the image's Python, or that of the project's environment. To attach to a process
      // it looks for a gdb.
      const python = interpreterOf(configuration) ?? "python3";
      const script = `PATH="$PATH:${folder}/bin" exec "$@"`;
      return {
        command: ["sh", "-c", script, "sh", python, `${folder}/debugpy/adapter`],
        // Frozen modules of newer Pythons make it warn at each start.
        env: { PYDEVD_DISABLE_FILE_VALIDATION: "1" },
        type: "debugpy",
        needs: python,
      };
    }
    case "gdb":
      return {
        command: [
          ...own(`${folder}/gdb`),
          ...[`--data-directory=${folder}/share/gdb`, "--nx", "--quiet", "--interpreter=dap"],
          // Its own Python is not the program's.
          ...["-iex", "unset environment PYTHONHOME", "-iex", "set debuginfod enabled off"],
        ],
        env: { PYTHONHOME: `${folder}/python`, PYTHONDONTWRITEBYTECODE: "1" },
        type: "gdb",
      };
    case "go": {
      const address = addressOf(configuration);
      if (configuration.mode === "remote" && address) return { command: [], address, type: "go" };
      return {
        command: [...own(`${folder}/dlv`), "dap", `--listen=unix:${socket}`, "--check-go-version=false"],
        socket,
        type: "go",
      };
    }
    default:
      throw new DormouseError(
        "invalid_argument",
        `type: there is no debugger for ${configuration.type}; there are ${Object.keys(types).join(", ")}`,
      );
  }
}

function interpreterOf(configuration: DebugConfiguration): string | undefined {
  const named = configuration.python ?? configuration.pythonPath;
  const python = Array.isArray(named) ? named[0] : named;
  return typeof python === "string" && python !== "" ? python : undefined;
}

function addressOf(given: unknown): { host: string; port: number } | undefined {
  const { host, port } = (given ?? {}) as { host?: unknown; port?: unknown };
  const number = Number(port);
  if (port === undefined || !Number.isInteger(number) || number < 1 || number > 65_535) return undefined;
  return { host: typeof host === "string" && host !== "" ? host : "127.0.0.1", port: number };
}

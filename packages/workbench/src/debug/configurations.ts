import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import type { Guest } from "../channel/channel.ts";
import { toEditorPath, toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";

/** What a configuration names the session in the machine by that it is for, instead of starting another one. */
export const sessionKey = "__dormouseSession";

/** The debugger for a language. */
export const debuggerOf: Readonly<Record<string, string>> = {
  javascript: "node",
  javascriptreact: "node",
  typescript: "node",
  typescriptreact: "node",
  python: "debugpy",
  go: "go",
  c: "gdb",
  cpp: "gdb",
  rust: "gdb",
};

/** Programs under these are nobody's own. */
const notOwn = ["node_modules", ".git", ".venv", "build/CMakeFiles", "target/*/build", "target/*/deps"];
const maxBinaries = 200;
// biome-ignore lint/suspicious/noTemplateCurlyInString: the editor replaces it.
const fileVariable = "${file}";

/** What {@link debugConfigurations} works with. */
export interface ConfigurationOptions {
  api: Api;
  guest: Guest;
  /** The workspace's folder, as the editor names it. */
  folder: string;
}

/** Completes configurations: all of one where there is none, and what is left out of one that there is. */
export function debugConfigurations({ api, guest, folder }: ConfigurationOptions): vscode.DebugConfigurationProvider {
  /** Without a file the language's own way to start is meant. */
  const launchOf = async (
    type: string,
    document: vscode.TextDocument | undefined,
  ): Promise<Record<string, unknown> | undefined> => {
    switch (type) {
      case "node":
      case "pwa-node":
        return { program: document?.uri.path ?? fileVariable, cwd: folder, skipFiles: ["<node_internals>/**"] };
      case "python":
      case "debugpy":
        return { program: document?.uri.path ?? fileVariable, cwd: folder, console: "integratedTerminal" };
      case "go": {
        const path = document?.uri.path ?? folder;
        const isTest = path.endsWith("_test.go");
        return { program: document ? path.slice(0, path.lastIndexOf("/")) : folder, mode: isTest ? "test" : "debug" };
      }
      default: {
        const program = await pickBinary(document?.uri.path);
        return program === undefined ? undefined : { program, cwd: folder };
      }
    }
  };

  /** The binary beside the source of the same name, else one of those that were built in the workspace. */
  const pickBinary = async (source: string | undefined): Promise<string | undefined> => {
    const binaries = await findBinaries();
    const beside = source?.replace(/\.[^./]+$/, "");
    if (beside && binaries.includes(beside)) return beside;
    if (binaries.length === 1) return binaries[0];
    if (binaries.length === 0) {
      const message = "There is no binary in the workspace to debug. Build it with debug information (-g) first.";
      void api.window.showErrorMessage(message);
      return undefined;
    }
    const items = binaries.map((path) => ({ label: path.slice(path.lastIndexOf("/") + 1), description: path, path }));
    const chosen = await api.window.showQuickPick(items, { title: "Binary to debug", matchOnDescription: true });
    return chosen?.path;
  };

  const findBinaries = async (): Promise<string[]> => {
    const pruned = notOwn.flatMap((path) => ["-path", `*/${path}`, "-prune", "-o"]);
    const find = ["find", ".", "-maxdepth", "6", ...pruned, "-type", "f", "-perm", "-u+x", "-size", "+4k", "-print"];
    const { stdout } = await guest.exec.run({ command: find, cwd: toGuestPath(folder), timeoutMs: 20_000 });
    const paths = stdout.split("\n").filter(Boolean).slice(0, maxBinaries);
    if (paths.length === 0) return [];
    const script = 'for f in "$@"; do [ "$(head -c 4 "$f" | tail -c 3)" = ELF ] && printf "%s\\n" "$f"; done; true';
    const test = ["sh", "-c", script, "sh", ...paths];
    const elves = await guest.exec.run({ command: test, cwd: toGuestPath(folder), timeoutMs: 20_000 });
    const isProgram = (path: string) => !/\.(so(\.[\d.]+)?|o|node)$/.test(path);
    return elves.stdout
      .split("\n")
      .filter((path) => path && isProgram(path))
      .map((path) => toEditorPath(`${toGuestPath(folder)}/${path.replace(/^\.\//, "")}`));
  };

  const interpreter = async (): Promise<string | undefined> => {
    for (const name of [".venv", "venv"]) {
      const path = `${toGuestPath(folder)}/${name}/bin/python`;
      if ((await guest.files.exists({ path })).exists) return path;
    }
    return undefined;
  };

  /** Its debugger knows ports only. */
  const attachedByPort = async ({ processId, ...rest }: vscode.DebugConfiguration) => {
    try {
      const { port } = await guest.debug.openInspector({ pid: Number(processId) });
      return { ...rest, address: "127.0.0.1", port };
    } catch (error) {
      void api.window.showErrorMessage(DormouseError.from(error).message);
      return undefined;
    }
  };

  return {
    async resolveDebugConfiguration(_, configuration) {
      if (configuration[sessionKey] !== undefined) return configuration;
      const document = api.window.activeTextEditor?.document;
      const type = configuration.type || debuggerOf[document?.languageId ?? ""];
      if (!type) {
        void api.window.showErrorMessage("Open a file of Node.js, Python, Go, C, C++ or Rust to debug it.");
        return undefined;
      }
      const own = document?.uri.scheme === "file" && debuggerOf[document.languageId] ? document : undefined;
      const whole: vscode.DebugConfiguration = {
        ...configuration,
        type,
        request: configuration.request || "launch",
        name: configuration.name || `Debug ${own?.uri.path.split("/").at(-1) ?? type}`,
      };
      const isLaunch = whole.request === "launch" && whole.program === undefined && whole.module === undefined;
      const runsByItself = whole.runtimeExecutable !== undefined || whole.code !== undefined;
      if (!isLaunch || runsByItself) return whole;
      const launch = await launchOf(type, own);
      return launch && { ...launch, ...whole };
    },

    async resolveDebugConfigurationWithSubstitutedVariables(_, configuration) {
      if (configuration[sessionKey] !== undefined) return configuration;
      const { type } = configuration;
      if (type === "python" || type === "debugpy") {
        const python = configuration.python ?? configuration.pythonPath ?? (await interpreter());
        return python === undefined ? configuration : { ...configuration, python };
      }
      if ((type === "node" || type === "pwa-node") && configuration.processId !== undefined) {
        return await attachedByPort(configuration);
      }
      if (type === "gdb" || type === "cppdbg") return gdbConfiguration(configuration);
      if (type === "go" && configuration.request === "attach" && configuration.processId !== undefined) {
        return { mode: "local", ...configuration, processId: Number(configuration.processId) };
      }
      return configuration;
    },
  };
}

/** What files for Microsoft's C++ debugger say, as gdb names it. */
export function gdbConfiguration(configuration: vscode.DebugConfiguration): vscode.DebugConfiguration {
  const { environment, stopAtEntry, processId, miDebuggerServerAddress, ...rest } = configuration;
  const pid = rest.pid ?? processId;
  const named = environment as { name: string; value: string }[] | undefined;
  return {
    ...rest,
    ...(named ? { env: Object.fromEntries(named.map(({ name, value }) => [name, value])) } : {}),
    ...(stopAtEntry === undefined ? {} : { stopAtBeginningOfMainSubprogram: stopAtEntry === true }),
    ...(pid === undefined ? {} : { pid: Number(pid) }),
    ...(miDebuggerServerAddress === undefined ? {} : { target: miDebuggerServerAddress }),
  } as vscode.DebugConfiguration;
}

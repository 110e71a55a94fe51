const javascript = ["javascript", "javascriptreact", "typescript", "typescriptreact"];
const native = ["c", "cpp", "rust"];
const languages = [...javascript, "python", "go", ...native];
const canDebug = `resourceScheme == file && !isInDiffEditor && resourceLangId =~ /^(${languages.join("|")})$/`;

/** What the editor replaces when a configuration is used. */
const variable = (name: string) => `\${${name}}`;
/** The same in a snippet, where it is to be typed as it stands. */
const typed = (name: string, rest = "") => `^"\\${variable(name)}${rest}"`;
const text = (description: string) => ({ type: "string", description });
const list = (description: string) => ({ type: "array", items: { type: "string" }, description });
const flag = (description: string) => ({ type: "boolean", description });
const variables = {
  type: "object",
  additionalProperties: { type: ["string", "null"] },
  description: "Environment variables of the program.",
};
const number = (description: string) => ({ type: ["string", "number"], description });
const process = number(`Process to attach to; ${variable("command:dormouse.pickProcess")} asks.`);
const console = {
  enum: ["internalConsole", "integratedTerminal", "externalTerminal"],
  description: "Where the program runs.",
};
const common = {
  args: list("Arguments of the program."),
  cwd: text("Folder that the program starts in."),
  env: variables,
};

const nodeAttributes = {
  launch: {
    properties: {
      program: text("File that is run."),
      ...common,
      console,
      runtimeExecutable: text("What runs it; default node."),
      runtimeArgs: list("Arguments of what runs it."),
      skipFiles: list("Files that are not stepped into, as globs."),
      outFiles: list("Compiled files, as globs, in which source maps are looked for."),
      stopOnEntry: flag("Stops at the first line."),
      autoAttachChildProcesses: flag("Debugs the processes that it starts, too."),
    },
  },
  attach: {
    properties: {
      port: number("Inspector port of the process."),
      address: text("Default localhost."),
      processId: process,
    },
  },
};

const pythonAttributes = {
  launch: {
    properties: {
      program: text("File that is run."),
      module: text("Module that is run instead of a file."),
      ...common,
      console,
      python: text("Interpreter; default .venv of the folder, else python3."),
      justMyCode: flag("Steps over libraries."),
      stopOnEntry: flag("Stops at the first line."),
      django: flag("Debugs Django templates."),
      jinja: flag("Debugs Jinja templates."),
      subProcess: flag("Debugs the processes that it starts, too."),
    },
  },
  attach: {
    properties: {
      connect: {
        type: "object",
        properties: { host: text("Default 127.0.0.1."), port: number("Where debugpy listens.") },
        description: "Address that `debugpy --listen` opened.",
      },
      processId: process,
      justMyCode: flag("Steps over libraries."),
    },
  },
};

const gdbAttributes = {
  launch: {
    required: ["program"],
    properties: {
      program: text("Binary, built with debug information."),
      ...common,
      stopAtBeginningOfMainSubprogram: flag("Stops in main."),
    },
  },
  attach: {
    properties: {
      program: text("Binary with the debug information."),
      pid: process,
      target: text("Address of a gdbserver, HOST:PORT."),
    },
  },
};

const goAttributes = {
  launch: {
    properties: {
      program: text("Package folder, test folder or binary."),
      mode: { enum: ["debug", "test", "exec"], description: "What the program is." },
      ...common,
      buildFlags: text("Flags of go build."),
      stopOnEntry: flag("Stops before main."),
    },
  },
  attach: {
    properties: {
      mode: { enum: ["local", "remote"], description: "A process of the machine, or a dlv that listens." },
      processId: process,
      host: text("Default 127.0.0.1."),
      port: number("Where dlv listens."),
    },
  },
};

const snippet = (label: string, description: string, body: Record<string, unknown>) => ({ label, description, body });

/** An older name of a debugger, as launch.json files have it. */
const alias = (type: string, label: string, configurationAttributes: object) => ({
  type,
  label,
  hiddenWhen: "true",
  configurationAttributes,
});

const node = {
  type: "node",
  label: "Node.js",
  languages: javascript,
  configurationAttributes: nodeAttributes,
  initialConfigurations: [
    {
      type: "node",
      request: "launch",
      name: "Debug File",
      program: variable("file"),
      skipFiles: ["<node_internals>/**"],
    },
  ],
  configurationSnippets: [
    snippet("Node.js: Debug File", "Runs the open file", {
      type: "node",
      request: "launch",
      name: "Debug File",
      program: typed("file"),
      skipFiles: ["<node_internals>/**"],
    }),
    snippet("Node.js: Attach", "Attaches to a process of the machine", {
      type: "node",
      request: "attach",
      name: "Attach",
      processId: typed("command:dormouse.pickProcess"),
    }),
  ],
};

const python = {
  type: "debugpy",
  label: "Python",
  languages: ["python"],
  configurationAttributes: pythonAttributes,
  initialConfigurations: [
    {
      type: "debugpy",
      request: "launch",
      name: "Debug File",
      program: variable("file"),
      console: "integratedTerminal",
    },
  ],
  configurationSnippets: [
    snippet("Python: Debug File", "Runs the open file", {
      type: "debugpy",
      request: "launch",
      name: "Debug File",
      program: typed("file"),
      console: "integratedTerminal",
    }),
    snippet("Python: Attach to Port", "Attaches to `debugpy --listen`", {
      type: "debugpy",
      request: "attach",
      name: "Attach to Port",
      connect: { host: "127.0.0.1", port: 5678 },
    }),
  ],
};

const gdb = {
  type: "gdb",
  label: "GDB (C, C++, Rust)",
  languages: native,
  configurationAttributes: gdbAttributes,
  initialConfigurations: [
    {
      type: "gdb",
      request: "launch",
      name: "Debug Binary",
      program: `${variable("workspaceFolder")}/main`,
      cwd: variable("workspaceFolder"),
    },
  ],
  configurationSnippets: [
    snippet("GDB: Debug Binary", "Runs a binary", {
      type: "gdb",
      request: "launch",
      name: "Debug Binary",
      program: typed("workspaceFolder", "/main"),
    }),
    snippet("GDB: Attach", "Attaches to a process of the machine", {
      type: "gdb",
      request: "attach",
      name: "Attach",
      pid: typed("command:dormouse.pickProcess"),
    }),
  ],
};

const go = {
  type: "go",
  label: "Go",
  languages: ["go"],
  configurationAttributes: goAttributes,
  initialConfigurations: [
    { type: "go", request: "launch", name: "Debug Package", mode: "debug", program: variable("fileDirname") },
  ],
  configurationSnippets: [
    snippet("Go: Debug Package", "Builds and runs the package", {
      type: "go",
      request: "launch",
      name: "Debug Package",
      mode: "debug",
      program: typed("fileDirname"),
    }),
  ],
};

/** What debugging adds to the editor: the debuggers, where breakpoints may stand, and commands. */
export const debugContributions = {
  debuggers: [
    node,
    alias("pwa-node", "Node.js", nodeAttributes),
    python,
    alias("python", "Python", pythonAttributes),
    gdb,
    alias("cppdbg", "GDB", {
      launch: {
        required: ["program"],
        properties: { ...gdbAttributes.launch.properties, environment: { type: "array" } },
      },
      attach: { properties: { ...gdbAttributes.attach.properties, processId: process } },
    }),
    go,
  ],
  breakpoints: languages.map((language) => ({ language })),
  commands: [
    { command: "dormouse.debugFile", title: "Debug File", category: "Debug", icon: "$(debug-alt)" },
    { command: "dormouse.runFile", title: "Run File", category: "Debug", icon: "$(play)" },
    { command: "dormouse.attachToProcess", title: "Attach to Process...", category: "Debug" },
    { command: "dormouse.attachToPort", title: "Attach to Port...", category: "Debug" },
    { command: "dormouse.pickProcess", title: "Pick Process" },
  ],
  menus: {
    "editor/title/run": [
      { command: "dormouse.runFile", when: canDebug, group: "1_run@10" },
      { command: "dormouse.debugFile", when: canDebug, group: "1_run@20" },
    ],
    commandPalette: [
      { command: "dormouse.debugFile", when: canDebug },
      { command: "dormouse.runFile", when: canDebug },
      { command: "dormouse.pickProcess", when: "false" },
    ],
  },
};

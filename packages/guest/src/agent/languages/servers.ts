import type { LanguageServer, LanguageServerName } from "@dormouse/contract/language-schemas";

/** Where the machine has its language servers, as the user's processes see it. */
export interface LanguageTools {
  folder: string;
  /** Runs those that are written in JavaScript. */
  node: string;
  /** Runs a script: every machine has a shell there, whatever its image has. */
  shell: readonly string[];
  /** Of the machine, in MiB; default what the kernel says. */
  memoryMib?: number | undefined;
}

/** How a server is started. */
export interface ServerStart {
  command: string[];
  env: Record<string, string>;
  /** What it may use of the machine's memory for what it knows, in MiB; and how much in all before it is ended. */
  memoryMib: { heap: number; limit: number };
  title: string;
  initializationOptions: Record<string, unknown>;
}

/** What {@link serverFor} looks at. */
export interface ServerContext {
  tools: LanguageTools;
  /** The workspace's folder. */
  folder: string;
  /** All memory of the machine. */
  memoryMib: number;
  /** Content of a file as the user sees it, undefined where there is none. */
  readFile: (path: string) => Promise<string | undefined>;
  isThere: (path: string) => Promise<boolean>;
}

/**
 * Stacks of threads, code, WebAssembly, and what a heap needs beside what lives in it. The kernel counts what is mapped to be
 * written to, and V8 maps far more than it uses: at 512 it ended servers that used a tenth of that.
 */
const besideHeapMib = 1536;
/** Enough for the largest file that is sensible; none of these knows of more than a few at once. */
const smallHeapMib = 256;
/** Those that know whole projects get a part of the machine, so that the user's own programs have the larger one. */
const largeHeap = { part: 1 / 3, minMib: 384, maxMib: 3072 };

/** The way to start a server: the machine's own, the workspace's TypeScript, or a command of the user's. */
export async function serverFor(server: LanguageServer, context: ServerContext): Promise<ServerStart> {
  const { tools, memoryMib } = context;
  const { part, minMib, maxMib } = largeHeap;
  const large = Math.round(Math.min(maxMib, Math.max(minMib, memoryMib * part)));
  const limited = (heap: number) => ({ heap, limit: heap + besideHeapMib });
  if ("command" in server) {
    const title = server.command[0] ?? "";
    return {
      command: server.command,
      env: { GOMEMLIMIT: `${large}MiB` },
      memoryMib: limited(large),
      title: title.slice(title.lastIndexOf("/") + 1),
      initializationOptions: {},
    };
  }
  if (server.name === "typescript") return typescript(context, large);
  const { title, args, isLarge, options } = programs[server.name];
  const heap = isLarge ? large : smallHeapMib;
  return {
    command: nodeCommand(tools, heap, args),
    env: {},
    memoryMib: limited(heap),
    title,
    initializationOptions: options ?? {},
  };
}

interface Program {
  title: string;
  /** First the file, in the tools' folder. */
  args: readonly [string, ...string[]];
  isLarge?: boolean;
  options?: Record<string, unknown>;
}

const programs: Readonly<Record<Exclude<LanguageServerName, "typescript">, Program>> = {
  python: { title: "Pyright", args: ["pyright/langserver.index.js", "--stdio"], isLarge: true },
  json: {
    title: "JSON",
    args: ["json.cjs", "--stdio"],
    options: { provideFormatter: true, handledSchemaProtocols: ["file"] },
  },
  css: { title: "CSS", args: ["css.cjs", "--stdio"], options: { provideFormatter: true } },
  // Scripts inside of pages are left out: see language-tools.ts of image.
  html: {
    title: "HTML",
    args: ["html.cjs", "--stdio"],
    options: { provideFormatter: true, embeddedLanguages: { css: true, javascript: false } },
  },
  yaml: { title: "YAML", args: ["yaml/out/src/server.mjs", "--stdio"] },
  bash: { title: "Bash", args: ["bash/out/cli.cjs", "start"] },
};

/**
 * From version 7 on TypeScript is a program that speaks the protocol itself: it starts in a fraction of the time and takes a
 * seventh of the memory. A workspace that has an older one of its own gets that, behind typescript-language-server.
 */
async function typescript(context: ServerContext, heapMib: number): Promise<ServerStart> {
  const { tools, folder, readFile, isThere } = context;
  const modules = `${folder}/node_modules`;
  const native = (lib: string, title: string): ServerStart => ({
    command: [`${lib}/tsc`, "--lsp", "--stdio"],
    env: { GOMEMLIMIT: `${heapMib}MiB` },
    memoryMib: { heap: heapMib, limit: heapMib + besideHeapMib },
    title,
    initializationOptions: {},
  });
  const version = versionOf(await readFile(`${modules}/typescript/package.json`));
  const major = Number(version?.split(".")[0] ?? Number.NaN);
  if (major >= 7) {
    // Where npm, yarn and pnpm put what belongs to a package.
    for (const place of ["", ".pnpm/node_modules/", "typescript/node_modules/"]) {
      const program = `${modules}/${place}@typescript/typescript-linux-x64`;
      if (versionOf(await readFile(`${program}/package.json`)) !== version) continue;
      return native(`${program}/lib`, `TypeScript ${version} of the workspace`);
    }
  }
  const server = `${modules}/typescript/lib/tsserver.js`;
  if (major < 7 && (await isThere(server))) {
    return {
      command: nodeCommand(tools, smallHeapMib, ["typescript-language-server/lib/cli.mjs", "--stdio"]),
      env: {},
      memoryMib: { heap: heapMib, limit: heapMib + besideHeapMib },
      title: `TypeScript ${version} of the workspace`,
      initializationOptions: {
        tsserver: { path: server, useSyntaxServer: "never" },
        maxTsServerMemory: heapMib,
        // It would fetch packages from the Internet that nobody asked for.
        disableAutomaticTypingAcquisition: true,
      },
    };
  }
  const own = versionOf(await readFile(`${tools.folder}/typescript/package.json`));
  return native(`${tools.folder}/typescript/lib`, `TypeScript ${own ?? ""}`.trim());
}

function nodeCommand({ node, folder }: LanguageTools, heapMib: number, args: Program["args"]): string[] {
  const [file, ...rest] = args;
  return [node, `--max-old-space-size=${heapMib}`, `${folder}/${file}`, ...rest];
}

function versionOf(manifest: string | undefined): string | undefined {
  try {
    const { version } = JSON.parse(manifest ?? "null") as { version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}

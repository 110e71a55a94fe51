import { cp, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { contentHash, run } from "@dormouse/base/node";
import { build, version as bundlerVersion } from "esbuild";
import { type BuildContext, cached } from "./cache.ts";

/** Raised when what this file makes changes, so that older artefacts are not taken for it. */
const recipeVersion = "1";

/** Names npm's packages with their versions and hashes. */
const pinned = fileURLToPath(new URL("../language-servers/", import.meta.url));

/** Servers that become one file each; where their package has no more than that, and what the file reads beside. */
const bundles: readonly Bundle[] = [
  ...["json", "css", "html"].map((name) => ({
    entry: `vscode-langservers-extracted/lib/${name}-language-server/node/${name}ServerMain.js`,
    file: `${name}.cjs`,
    beside: {},
  })),
  {
    entry: "yaml-language-server/out/src/server.js",
    file: "yaml/out/src/server.mjs",
    beside: { "yaml-language-server/l10n/bundle.l10n.json": "yaml/l10n/bundle.l10n.json" },
  },
  {
    entry: "bash-language-server/out/cli.js",
    file: "bash/out/cli.cjs",
    beside: {
      "bash-language-server/tree-sitter-bash.wasm": "bash/tree-sitter-bash.wasm",
      "web-tree-sitter/web-tree-sitter.wasm": "bash/out/web-tree-sitter.wasm",
      "@one-ini/wasm/one_ini_bg.wasm": "bash/out/one_ini_bg.wasm",
    },
  },
];

interface Bundle {
  /** In `node_modules`. */
  entry: string;
  file: string;
  /** Files of `node_modules`, and where they go. */
  beside: Readonly<Record<string, string>>;
}

/** Of Pyright what a server does not read: maps of its source, the command line. */
const unusedPyright = /\.map$|\/dist\/pyright\.js$/;

/** A folder with the language servers, to be found by users' processes as `tools/languages`. */
export interface LanguageTools {
  hash: string;
  path: string;
}

/**
 * Fetches the language servers, pruned to what a server reads: TypeScript's own as it is, a program without libraries; the
 * others for a Node, most of them bundled into one file.
 * @param schemas JSON schemas that are to lie in the folder `schemas`, beside those that lie here.
 * @throws DormouseError `unavailable` or as npm says when the packages cannot be fetched, or are not the pinned ones.
 */
export async function buildLanguageTools(
  schemas: readonly string[],
  context: BuildContext = {},
): Promise<LanguageTools> {
  const files = schemas.map((path) => ({ path }));
  const hash = await contentHash("language-tools", recipeVersion, bundlerVersion, { path: pinned }, ...files);
  const make = async (folder: string, report: (message: string, fraction?: number) => void) => {
    const scratch = join(folder, "scratch");
    await mkdir(scratch);
    for (const file of ["package.json", "package-lock.json"]) await cp(join(pinned, file), join(scratch, file));
    const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"];
    await run("npm", ["install", ...quiet], { cwd: scratch, timeoutMs: 600_000, signal: context.signal });
    report("Bundling the language servers", 0.7);
    await layOut(join(scratch, "node_modules"), folder);
    await cp(join(pinned, "schemas"), join(folder, "schemas"), { recursive: true });
    for (const file of schemas) await cp(file, join(folder, "schemas", file.slice(file.lastIndexOf("/") + 1)));
    await rm(scratch, { recursive: true });
    await run("chmod", ["-R", "u+rwX,go+rX,go-w", folder]);
  };
  const path = await cached(
    { name: "language-tools", hash, title: "Fetching the language servers", build: make },
    context,
  );
  return { hash, path };
}

async function layOut(modules: string, folder: string): Promise<void> {
  for (const bundle of bundles) await writeBundle(modules, folder, bundle);
  const plain = [
    ["typescript-language-server/lib/cli.mjs", "typescript-language-server/lib/cli.mjs"],
    // Read for its version.
    ["typescript-language-server/package.json", "typescript-language-server/package.json"],
    ["pyright/langserver.index.js", "pyright/langserver.index.js"],
    ["pyright/package.json", "pyright/package.json"],
    ["pyright/dist", "pyright/dist"],
  ] as const;
  for (const [from, to] of plain) {
    await cp(join(modules, from), join(folder, to), {
      recursive: true,
      filter: (path) => !unusedPyright.test(path),
    });
  }
  const native = join(modules, "@typescript/typescript-linux-x64");
  await cp(join(native, "package.json"), join(folder, "typescript/package.json"));
  const wanted = (await readdir(join(native, "lib"))).filter((name) => name === "tsc" || name.endsWith(".d.ts"));
  for (const name of wanted) await cp(join(native, "lib", name), join(folder, "typescript/lib", name));
}

async function writeBundle(modules: string, folder: string, { entry, file, beside }: Bundle): Promise<void> {
  const isModule = file.endsWith(".mjs");
  await build({
    entryPoints: [join(modules, entry)],
    outfile: join(folder, file),
    bundle: true,
    platform: "node",
    target: "node24",
    format: isModule ? "esm" : "cjs",
    minify: true,
    legalComments: "none",
    // The CommonJS builds of the language services look for their own files at run time.
    mainFields: ["module", "main"],
    logLevel: "silent",
    ...(isModule ? { banner: { js: commonJsNames } } : {}),
    plugins: [
      {
        name: "without-what-no-server-uses",
        setup({ onResolve, onLoad }) {
          // Node has all that the polyfills bring. The HTML server's TypeScript is for scripts inside of pages, which
          // would double its memory; that mode is switched off where the server is started.
          onResolve({ filter: /^(core-js\/.*|typescript)$/ }, () => ({ path: "nothing", namespace: "nothing" }));
          onLoad({ filter: /.*/, namespace: "nothing" }, () => ({ contents: "module.exports = {};" }));
        },
      },
    ],
  });
  for (const [from, to] of Object.entries(beside)) await cp(join(modules, from), join(folder, to));
}

/** For CommonJS modules that end up in an ES module. */
const commonJsNames = [
  'import { createRequire as dormouseRequire } from "node:module";',
  'import { fileURLToPath as dormousePath } from "node:url";',
  'import { dirname as dormouseFolder } from "node:path";',
  "const require = dormouseRequire(import.meta.url);",
  "const __filename = dormousePath(import.meta.url), __dirname = dormouseFolder(__filename);",
].join("\n");

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/**
 * The page is built at the first start on the machine it runs on, so the build is
 * tuned for time and memory: no source maps, no report of compressed sizes.
 */
export default defineConfig({
  base: "/workbench/",
  plugins: [withoutServersInPage(), withoutForeignMaps(), extensionsWithoutOrigin(), precompressed()],
  build: {
    target: "esnext",
    // Extension files are fetched by the worker host, which cannot load `data:` URLs.
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 32_000,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});

/**
 * The built-in extensions for CSS, HTML, JSON and TypeScript would start servers in the page, beside those of the machine that
 * know all files of the workspace. Their settings, commands and schemas stay; what runs, and megabytes of it, goes.
 */
function withoutServersInPage(): Plugin {
  const extension = /monaco-vscode-(css|html|json|typescript)-language-features-default-extension\/index\.js$/;
  return {
    name: "without-servers-in-page",
    enforce: "pre",
    transform(code, id) {
      if (!extension.test(id)) return undefined;
      const manifest = code.replace(/browser:"\.\/[^"]*"/, "browser:undefined");
      if (manifest === code) this.error(`${id} names no program of the extension any more`);
      return manifest.replaceAll(/^registerFileUrl\('(client|server|dist)\/.*\n/gm, "");
    },
  };
}

/** The built-in extensions list their source maps as files: half of the page's bytes, for nobody. */
function withoutForeignMaps(): Plugin {
  return {
    name: "without-foreign-maps",
    generateBundle(_options, bundle) {
      for (const name of Object.keys(bundle)) if (name.endsWith(".map")) delete bundle[name];
    },
  };
}

/**
 * Extensions run in a frame that the gateway gives no origin. There Chromium runs no worker that is a module, but one that
 * loads a module; and the frame's own policy names its origin, which it has none of: the gateway sends one in its place.
 */
function extensionsWithoutOrigin(): Plugin {
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: it is the frame's own text.
  const changes: readonly (readonly [string | RegExp, string])[] = [
    [/<meta http-equiv="Content-Security-Policy"[^>]*>/, ""],
    [
      "`await import('${workerUrl}');`",
      "`import('${workerUrl}').catch((error) => setTimeout(() => { throw error; }));`",
    ],
    [
      "new Worker(URL.createObjectURL(blob), { name, ...workerOptions })",
      "new Worker(URL.createObjectURL(blob), { name })",
    ],
  ];
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: it is the frame's own text.
  return {
    name: "extensions-without-origin",
    generateBundle(_options, bundle) {
      const frame = Object.values(bundle).find(({ fileName }) => fileName.includes("webWorkerExtensionHostIframe"));
      if (frame?.type !== "asset") return this.error("the page has no frame for extensions any more");
      let content = Buffer.from(frame.source).toString("utf8");
      for (const [before, after] of changes) {
        const changed = content.replace(before, () => after);
        if (changed === content) this.error(`the frame for extensions has no ${String(before)} any more`);
        content = changed;
      }
      frame.source = content;
    },
  };
}

/** Below this a file travels in one or two packets as it is. */
const worthBytes = 4 * 1024;
/** Level 6 takes twice the time for a tenth less. */
const level = 4;

/** Puts a compressed neighbour beside each larger text, which the gateway serves instead. */
function precompressed(): Plugin {
  const compress = promisify(gzip);
  return {
    name: "precompressed",
    async writeBundle({ dir }, bundle) {
      const texts = Object.keys(bundle).filter((name) => /\.(js|css|json|wasm|svg|ttf|txt|html)$/.test(name));
      await Promise.all(
        texts.map(async (name) => {
          const file = join(dir ?? "dist", name);
          const content = await readFile(file);
          if (content.byteLength >= worthBytes) await writeFile(`${file}.gz`, await compress(content, { level }));
        }),
      );
    },
  };
}

import { randomBytes } from "node:crypto";
import { access, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Progress } from "@dormouse/base";
import { contentHash, run, withFileLock } from "@dormouse/base/node";

const apps = ["workbench", "console"] as const;

/** Folders of the built browser apps. */
export type WebApps = Record<(typeof apps)[number], string>;

/**
 * Builds the browser apps that are not in the cache yet, by content hash of their
 * sources, of what they import from this repository and of the lock file.
 */
export async function buildWebApps(options: {
  root: string;
  cacheDir: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<WebApps> {
  const { root, cacheDir } = options;
  const shared = ["base", "contract", "sdk"].map((name) => ({ path: join(root, "packages", name, "src") }));
  const lock = { path: join(root, "package-lock.json") };
  const folders: Partial<WebApps> = {};
  for (const app of apps) {
    const own = ["src", "index.html", "public", "vite.config.ts", "package.json"].map((name) =>
      join(root, "packages", app, name),
    );
    const present = await filterPresent(own);
    const hash = await contentHash(...present.map((path) => ({ path })), ...shared, lock);
    folders[app] = await buildApp({ ...options, app, target: join(cacheDir, `web-${app}-${hash}`) });
  }
  return folders as WebApps;
}

async function buildApp(options: {
  root: string;
  cacheDir: string;
  app: string;
  target: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<string> {
  const { root, cacheDir, app, target, progress, signal } = options;
  if (await exists(target)) return target;
  await mkdir(cacheDir, { recursive: true, mode: 0o755 });
  await withFileLock(
    join(cacheDir, `web-${app}.lock`),
    async () => {
      if (await exists(target)) return;
      const building = `${target}.${randomBytes(4).toString("hex")}.building`;
      const startedMs = Date.now();
      const message = `Building the ${app}`;
      progress({ step: `web.${app}`, state: "started", message });
      try {
        await run(
          process.execPath,
          [join(root, "node_modules/vite/bin/vite.js"), "build", "--outDir", building, "--logLevel", "warn"],
          {
            cwd: join(root, "packages", app),
            env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
            timeoutMs: 600_000,
            signal,
          },
        );
        await rename(building, target);
      } catch (error) {
        await rm(building, { recursive: true, force: true });
        progress({ step: `web.${app}`, state: "failed", message, elapsedMs: Date.now() - startedMs });
        throw error;
      }
      progress({ step: `web.${app}`, state: "done", message, elapsedMs: Date.now() - startedMs });
    },
    { signal },
  );
  return target;
}

async function filterPresent(paths: string[]): Promise<string[]> {
  const present = await Promise.all(paths.map(exists));
  return paths.filter((_, index) => present[index]);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { silentProgress } from "@dormouse/base";
import { buildWebApps } from "../../packages/cli/src/platform/web-apps.ts";

/** The built workbench; built once for each state of its sources. */
export async function buildWorkbench(): Promise<string> {
  const { workbench } = await buildWebApps({
    root: fileURLToPath(new URL("../..", import.meta.url)),
    cacheDir: process.env.DORMOUSE_CACHE ?? join(tmpdir(), "dormouse-test-cache"),
    progress: silentProgress,
    signal: new AbortController().signal,
  });
  return workbench;
}

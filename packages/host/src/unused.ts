import { createHash, randomBytes } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Logger } from "@dormouse/base";
import { withFileLock, writeFileAtomic } from "@dormouse/base/node";
import { pruneArtifacts } from "@dormouse/image";
import { z } from "zod";
import { readTemplate, type TemplateFolder } from "./template-folder.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";

/** What {@link removeUnused} works with. */
export interface UnusedOptions {
  /** May be shared with other platforms of this machine, which all leave each other's. */
  cacheDir: string;
  dataDir: string;
  templates: Templates;
  timeline: Timeline;
  /** What was used since is kept, needed or not. */
  unusedForMs: number;
  log: Logger;
  signal?: AbortSignal;
}

const templateName = /^(template-(?:base|image)|fetched-template)-([0-9a-f]{24})$/;
const needs = z.object({ dataDir: z.string(), templates: z.array(z.string()) });

/**
 * Removes templates, images, features and drives that nobody has used for long. What stays, however old: the template of any
 * machine and any snapshot, of this platform and of every other one whose data folder is still there, with all that these
 * templates are made of. When it cannot be told what is needed, nothing is removed.
 * @returns the folders that are gone.
 */
export async function removeUnused(options: UnusedOptions): Promise<string[]> {
  const { cacheDir, templates, timeline, unusedForMs, log, signal } = options;
  const needed = await findNeeded(options);
  const removed: string[] = [];
  const kept: TemplateFolder["artifacts"][] = [];
  for (const name of await readdir(cacheDir)) {
    const [, kind, hash = ""] = templateName.exec(name) ?? [];
    if (kind === undefined) continue;
    signal?.throwIfAborted();
    const folder = join(cacheDir, name);
    const isGone = needed.has(hash)
      ? false
      : await withFileLock(join(cacheDir, `${kind}.lock`), () => removeTemplate(folder, hash, options), { signal });
    if (isGone) {
      removed.push(folder);
      // Others that share the store may begin machines with it.
      if (!timeline.sharesTemplates) await timeline.removeTemplate(hash);
    } else {
      // One that is half there has nothing to keep.
      const template = await readTemplate(folder).catch(() => undefined);
      if (template) kept.push(template.artifacts);
    }
  }
  const keep = [...kept, templates.base.artifacts];
  removed.push(...(await pruneArtifacts({ keep, unusedForMs }, { cacheDir, ...(signal && { signal }) })));
  if (removed.length > 0)
    log.info("what nobody used was removed", { folders: removed.map((folder) => basename(folder)) });
  return removed;
}

/** First out of sight, at once; taking a large folder apart can be interrupted. */
async function removeTemplate(folder: string, hash: string, { templates, unusedForMs }: UnusedOptions) {
  const facts = await stat(folder).catch(() => undefined);
  if (!facts || Date.now() - facts.mtimeMs < unusedForMs) return false;
  // In the same turn as the renaming begins: whoever asks from now on has it made anew.
  if (!templates.forget(hash, unusedForMs)) return false;
  const doomed = `${folder}.${randomBytes(4).toString("hex")}.building`;
  await rename(folder, doomed);
  await rm(doomed, { recursive: true });
  return true;
}

/** Hashes of templates that something needs, of any platform; what this one needs is written down for the others. */
async function findNeeded({ cacheDir, dataDir, templates, timeline, signal }: UnusedOptions): Promise<Set<string>> {
  const own = new Set([
    templates.base.hash,
    ...(await ofMachines(dataDir)),
    ...(await timeline.neededTemplates(signal)),
  ]);
  const folder = join(cacheDir, "needs");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const name = `${createHash("sha256").update(dataDir).digest("hex").slice(0, 24)}.json`;
  await writeFileAtomic(join(folder, name), JSON.stringify({ dataDir, templates: [...own] }), { mode: 0o600 });
  const all = new Set(own);
  for (const other of (await readdir(folder)).filter((each) => each.endsWith(".json") && each !== name)) {
    const { dataDir: place, templates: hashes } = needs.parse(JSON.parse(await readFile(join(folder, other), "utf8")));
    const isThere = await access(place).then(
      () => true,
      () => false,
    );
    if (!isThere) {
      await rm(join(folder, other), { force: true });
      continue;
    }
    // Machines that it has made since it wrote.
    for (const hash of [...hashes, ...(await ofMachines(place))]) all.add(hash);
  }
  return all;
}

/** The templates of the machines in a data folder, running and asleep. */
async function ofMachines(dataDir: string): Promise<string[]> {
  const folder = join(dataDir, "machines");
  const hashes: string[] = [];
  for (const name of await readdir(folder).catch(ignoreMissing([]))) {
    const text = await readFile(join(folder, name, "machine.json"), "utf8").catch(ignoreMissing(undefined));
    if (text !== undefined) hashes.push(z.object({ templateHash: z.string() }).parse(JSON.parse(text)).templateHash);
  }
  return hashes;
}

const ignoreMissing =
  <T>(instead: T) =>
  (error: NodeJS.ErrnoException): T => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return instead;
    throw error;
  };

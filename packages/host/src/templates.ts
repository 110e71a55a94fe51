import { randomBytes } from "node:crypto";
import { chmod, mkdir, rename, rm, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError, disposer, type Logger } from "@dormouse/base";
import type { TemplateFolder } from "./template-folder.ts";
import { readTemplate, writeTemplateFile } from "./template-folder.ts";
import type { Timeline } from "./timeline.ts";

export interface TemplatesOptions {
  cacheDir: string;
  /** What workspaces start from that name nothing else. */
  base: TemplateFolder;
  /** Those that this host has made. */
  known: readonly TemplateFolder[];
  timeline: Timeline;
  log: Logger;
}

/**
 * The templates of this host, and what others' templates bring for the machines that come from there: kernel, system
 * drive and image, fetched from the store once. Nothing new is created from a fetched one.
 */
export class Templates {
  readonly #options: TemplatesOptions;
  readonly #byHash: Map<string, TemplateFolder>;
  readonly #made: Set<TemplateFolder>;
  readonly #usedMs = new Map<string, number>();
  readonly #fetching = new Map<string, Promise<TemplateFolder>>();

  private constructor(options: TemplatesOptions, templates: readonly TemplateFolder[]) {
    this.#options = options;
    this.#made = new Set(options.known);
    this.#byHash = new Map(templates.map((template) => [template.hash, template]));
  }

  /** Finds what was fetched before, for the machines that need it, by their templates' hashes. */
  static async open(options: TemplatesOptions, needed: readonly string[]): Promise<Templates> {
    const made = new Set(options.known.map(({ hash }) => hash));
    const missing = [...new Set(needed)].filter((hash) => !made.has(hash));
    const fetched = await Promise.all(
      missing.map((hash) => readTemplate(folderOf(options.cacheDir, hash)).catch(() => [])),
    );
    return new Templates(options, [...fetched.flat(), ...options.known]);
  }

  get base(): TemplateFolder {
    return this.#options.base;
  }

  /**
   * One that machines can be created from: `base`, or an image's.
   * @throws DormouseError `not_found` naming it.
   */
  named(name: string): TemplateFolder {
    if (name === this.base.name) return this.base;
    for (const template of this.#made) if (template.name === name) return this.#use(template);
    throw new DormouseError("not_found", `this host has no template ${name}`);
  }

  /** From now on machines can be created from it. */
  add(template: TemplateFolder): void {
    this.#made.add(template);
    this.#byHash.set(template.hash, template);
    this.#use(template);
  }

  /** False when it was used so lately that somebody may be about to make a machine of it; else it is as if never made. */
  forget(hash: string, unusedForMs: number): boolean {
    if (hash === this.base.hash || this.#fetching.has(hash)) return false;
    if (Date.now() - (this.#usedMs.get(hash) ?? 0) < unusedForMs) return false;
    const template = this.#byHash.get(hash);
    if (template) this.#made.delete(template);
    this.#byHash.delete(hash);
    return true;
  }

  /** The folder's time is that of the last use, by which old ones are cleared away. */
  #use(template: TemplateFolder): TemplateFolder {
    const now = new Date();
    this.#usedMs.set(template.hash, now.getTime());
    // A cache that cannot be written to has none.
    void utimes(dirname(template.disk), now, now).catch(() => {});
    return template;
  }

  /** @throws DormouseError `not_found` naming the hash. */
  get(hash: string): TemplateFolder {
    const template = this.#byHash.get(hash);
    if (!template) throw new DormouseError("not_found", `this host does not have the template ${hash}`);
    return template;
  }

  /**
   * The template's parts are on this host afterwards.
   * @throws DormouseError `not_found` when they are not in the store either.
   */
  async ensure(hash: string, signal?: AbortSignal): Promise<TemplateFolder> {
    const known = this.#byHash.get(hash);
    if (known) return known;
    const fetching = this.#fetching.get(hash) ?? this.#fetch(hash, signal).finally(() => this.#fetching.delete(hash));
    this.#fetching.set(hash, fetching);
    return await fetching;
  }

  async #fetch(hash: string, signal?: AbortSignal): Promise<TemplateFolder> {
    const { cacheDir, timeline, log } = this.#options;
    const folder = folderOf(cacheDir, hash);
    const before = await readTemplate(folder).catch(() => undefined);
    if (before) return this.#addFetched(before);
    const startedMs = performance.now();
    await using undo = disposer();
    const building = `${folder}.${randomBytes(4).toString("hex")}.building`;
    undo.add(() => rm(building, { recursive: true, force: true }));
    await mkdir(building, { recursive: true });
    // Machines run as users of their own and read what lies in it.
    await chmod(building, 0o755);
    const parts = await timeline.fetchTemplate(hash, building, signal);
    const at = (name: string) => join(folder, name);
    const artifacts = {
      kernel: at("kernel"),
      initramfs: at("initramfs"),
      systemDrive: at("systemDrive"),
      baseImage: at("baseImage"),
      blankDisk: at("blankDisk"),
      hash: parts.artifactsHash,
    };
    // There is no agent that would take it.
    const bootToken = randomBytes(32).toString("hex");
    const { name, resources, createdMs } = parts;
    await writeTemplateFile(building, { version: 1, name, hash, createdMs, resources, bootToken, artifacts });
    await rm(folder, { recursive: true, force: true });
    await rename(building, folder);
    log.info("template fetched", { hash, ms: Math.round(performance.now() - startedMs) });
    return this.#addFetched(await readTemplate(folder));
  }

  #addFetched(template: TemplateFolder): TemplateFolder {
    this.#byHash.set(template.hash, template);
    return template;
  }
}

/** Not where a host looks for templates that it can create from. */
function folderOf(cacheDir: string, hash: string): string {
  if (!/^[0-9a-f]{24}$/.test(hash)) throw new DormouseError("data_loss", `"${hash}" is no hash of a template`);
  return join(cacheDir, `fetched-template-${hash}`);
}

import { posix } from "node:path";
import type { JsonPath } from "../document.ts";
import { formatValue, type Problem, ProblemCollector } from "../problem.ts";
import { validateDocument } from "../schema/explain.ts";
import { composeValidator } from "../schema/validators.ts";
import { canonicalService, type Mapping, placeOf } from "./canonical.ts";
import { parseEnvFile } from "./env-file.ts";
import { interpolate } from "./interpolate.ts";
import { isMapping, mergeCompose } from "./merge.ts";
import { type ComposeService, readService } from "./service.ts";
import { readYaml, withValue, type YamlDocument } from "./yaml-document.ts";

/** A Compose project: all of its services, whether they are to run or not. */
export interface ComposeProject {
  services: ReadonlyMap<string, ComposeService>;
  /** Of `COMPOSE_PROFILES`. */
  profiles: readonly string[];
  /** Where something of it stands. */
  locate(path: JsonPath): { file: string; line: number; column: number };
}

/** How a Compose project is read. */
export interface ReadComposeOptions {
  /** The files, in the order in which they are merged; as all paths here, relative to the repository. */
  files: readonly string[];
  /** What variables mean, before what `.env` beside the first file says. */
  env: Readonly<Record<string, string>>;
  /** Reads a file of the repository; undefined when it is not there. */
  read(path: string): Promise<string | undefined>;
}

/** What files say, and what is wrong with them. */
export interface ParsedCompose {
  /** Absent when there are errors. */
  project?: ComposeProject;
  problems: Problem[];
}

/** A file that includes or extends others of itself has no end; no real one is so deep. */
const maxFiles = 50;

/**
 * Reads a Compose project: files merged one over the other, what they include and extend, variables, files of
 * environment. Never throws for what a file contains.
 * https://github.com/compose-spec/compose-spec/blob/main/spec.md
 */
export async function readComposeProject(options: ReadComposeOptions): Promise<ParsedCompose> {
  const reader = new ProjectReader(options);
  const project = await reader.read();
  const problems = reader.problems.flatMap((collector) => collector.sorted());
  const all = [...reader.missing, ...problems];
  return all.some(({ severity }) => severity === "error") || !project ? { problems: all } : { project, problems: all };
}

interface LoadedFile {
  document: YamlDocument;
  problems: ProblemCollector;
  folder: string;
}

class ProjectReader {
  readonly problems: ProblemCollector[] = [];
  readonly missing: Problem[] = [];
  readonly #options: ReadComposeOptions;
  readonly #files: LoadedFile[] = [];
  #env: Record<string, string> = {};

  constructor(options: ReadComposeOptions) {
    this.#options = options;
  }

  async read(): Promise<ComposeProject | undefined> {
    const folder = posix.dirname(this.#options.files[0] ?? ".");
    const name = posix.basename(folder === "." ? "workspace" : folder).replace(/^\.+/, "");
    this.#env = { COMPOSE_PROJECT_NAME: name, ...(await this.#readDotEnv(folder)), ...this.#options.env };
    const model = await this.#loadAll(this.#options.files, folder, []);
    if (!model || this.#hasErrors()) return undefined;
    const services = new Map<string, ComposeService>();
    const files = filesOf(model, folder);
    for (const [service, raw] of Object.entries(servicesOf(model))) {
      const report = {
        error: (path: JsonPath, message: string) => this.#add(path, message, "error"),
        note: (path: JsonPath, message: string) => this.#add(path, message, "warning"),
      };
      const environment = await this.#readEnvFiles(service, raw);
      services.set(service, readService(service, raw, { files, environment, report }));
    }
    if (this.#hasErrors()) return undefined;
    const profiles = (this.#env.COMPOSE_PROFILES ?? "").split(",").filter((profile) => profile !== "");
    return { services, profiles, locate: (path) => this.#locate(path) };
  }

  #hasErrors(): boolean {
    return this.missing.length > 0 || this.problems.some(({ hasErrors }) => hasErrors);
  }

  async #readDotEnv(folder: string): Promise<Record<string, string>> {
    const text = await this.#options.read(posix.join(folder, ".env"));
    return text === undefined ? {} : this.#parseEnv(text, this.#options.env);
  }

  #parseEnv(text: string, outer: Readonly<Record<string, string>>): Record<string, string> {
    // What is wrong in such a file stays as it is written, as Compose has it.
    const silent = { onUnset() {}, onError() {} };
    return parseEnvFile(text, { outer, replace: (value, env) => String(interpolate(value, env, silent)) });
  }

  async #readEnvFiles(service: string, raw: Mapping): Promise<Record<string, string>> {
    const environment: Record<string, string> = {};
    for (const entry of (raw.env_file ?? []) as Mapping[]) {
      const path = String(entry.path);
      const text = await this.#options.read(path);
      if (text !== undefined) Object.assign(environment, this.#parseEnv(text, { ...this.#env, ...environment }));
      else if (entry.required !== false) {
        this.#add(["services", service, "env_file"], `names ${path}, which is not there`, "error");
      }
    }
    return environment;
  }

  async #loadAll(paths: readonly string[], folder: string, chain: readonly string[]): Promise<Mapping | undefined> {
    let model: Mapping | undefined;
    for (const path of paths) {
      const next = await this.#load(path, folder, chain);
      if (!next) continue;
      model = model ? (mergeCompose(model, next.model, next.document.tags) as Mapping) : next.model;
    }
    return model;
  }

  async #load(path: string, folder: string, chain: readonly string[]) {
    const file = await this.#open(path, folder);
    if (!file) return undefined;
    const { document, problems } = file;
    const value = document.value as Mapping;
    let model: Mapping = { ...value };
    const services: Mapping = {};
    for (const [name, raw] of Object.entries(servicesOf(value))) {
      services[name] = await this.#extend(name, raw, { file, chain: [...chain, `${path}#${name}`] });
    }
    if (Object.keys(services).length > 0) model.services = services;
    for (const included of includesOf(value)) {
      const paths = included.paths.map((one) => placeOf(folder, one));
      if (chain.includes(paths.join()) || chain.length > maxFiles) {
        problems.add(["include"], `leads back to ${paths.join(", ")}`);
        continue;
      }
      const below = included.folder ?? posix.dirname(paths[0] ?? ".");
      const other = await this.#loadAll(paths, below, [...chain, paths.join()]);
      if (other) model = mergeCompose(other, model) as Mapping;
    }
    return { document, model };
  }

  /** Opens a file once, replaces its variables, and holds it against the schema. */
  async #open(path: string, folder: string): Promise<LoadedFile | undefined> {
    const known = this.#files.find(({ document }) => document.path === path);
    if (known) return known;
    const missing = (message: string) =>
      void this.missing.push({ severity: "error", file: path, line: 1, column: 1, property: "", message });
    if (this.#files.length >= maxFiles) return missing("is one file too many: a project has at most 50");
    const text = await this.#options.read(path);
    if (text === undefined) return missing("is not there");
    const { document: written, problem } = readYaml(text, path);
    if (!written) return void this.missing.push(problem);
    const problems = new ProblemCollector(written);
    const document = withValue(written, this.#interpolate(written.value ?? {}, problems));
    const file = { document, problems, folder };
    this.problems.push(problems);
    this.#files.push(file);
    if (!isMapping(document.value)) {
      problems.add([], `is ${formatValue(document.value)}: must be an object`);
      return undefined;
    }
    validateDocument({ validator: composeValidator, document, problems, noun: "a Compose file" });
    return problems.hasErrors ? undefined : file;
  }

  #interpolate(value: unknown, problems: ProblemCollector): unknown {
    return interpolate(value, this.#env, {
      onUnset: (at, name) =>
        problems.add(at, `names the variable ${name}, which is not set: it counts as empty`, { severity: "warning" }),
      onError: (at, message) => problems.add(at, message),
    });
  }

  async #extend(
    name: string,
    raw: Mapping,
    { file, chain }: { file: LoadedFile; chain: readonly string[] },
  ): Promise<Mapping> {
    const own = canonicalService(raw, { folder: file.folder, env: this.#env });
    const { extends: written, ...rest } = own;
    if (written === undefined || written === null) return own;
    const { file: other, service } = typeof written === "string" ? { service: written } : (written as Mapping);
    const at = ["services", name, "extends"];
    const path = other === undefined ? file.document.path : placeOf(file.folder, String(other));
    const link = `${path}#${String(service)}`;
    if (chain.includes(link)) {
      file.problems.add(at, `leads back to ${String(service)}`);
      return rest;
    }
    const from = other === undefined ? file : await this.#open(path, posix.dirname(path));
    const base = from && servicesOf(from.document.value as Mapping)[String(service)];
    if (!from || !base) {
      if (from) file.problems.add(at, `names ${String(service)}: there is no such service in ${path}`);
      return rest;
    }
    const extended = await this.#extend(String(service), base, { file: from, chain: [...chain, link] });
    const tags = file.document.tags
      .filter(({ path: [, owner] }) => owner === name)
      .map(({ path: place, tag }) => ({ path: place.slice(2), tag }));
    return mergeCompose(extended, rest, tags) as Mapping;
  }

  /** The last file that says something of a place is the one that decides. */
  #fileOf(path: JsonPath): LoadedFile | undefined {
    for (let length = path.length; length > 0; length--) {
      const found = this.#files.findLast(({ document }) => document.valueAt(path.slice(0, length)) !== undefined);
      if (found) return found;
    }
    return this.#files.at(-1);
  }

  #locate(path: JsonPath) {
    const file = this.#fileOf(path);
    if (!file) return { file: this.#options.files[0] ?? "", line: 1, column: 1 };
    return { file: file.document.path, ...file.document.positionOf(path, "key") };
  }

  #add(path: JsonPath, message: string, severity: "error" | "warning"): void {
    this.#fileOf(path)?.problems.add(path, message, { severity, atKey: true });
  }
}

function servicesOf(model: Mapping): Record<string, Mapping> {
  return (isMapping(model.services) ? model.services : {}) as Record<string, Mapping>;
}

function includesOf(value: Mapping): { paths: string[]; folder: string | undefined }[] {
  if (!Array.isArray(value.include)) return [];
  return value.include.map((entry) => {
    if (typeof entry === "string") return { paths: [entry], folder: undefined };
    const { path, project_directory } = entry as Mapping;
    return {
      paths: [path].flat().map(String),
      folder: typeof project_directory === "string" ? project_directory : undefined,
    };
  });
}

/** Secrets and configs that lie in files, by their kind and name. */
function filesOf(model: Mapping, folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const kind of ["secrets", "configs"]) {
    const entries = isMapping(model[kind]) ? (model[kind] as Record<string, Mapping>) : {};
    for (const [name, entry] of Object.entries(entries)) {
      if (typeof entry?.file === "string") files.set(`${kind}.${name}`, placeOf(folder, entry.file));
    }
  }
  return files;
}

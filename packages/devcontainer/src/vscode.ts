import type { MetadataEntry } from "./config.ts";
import type { JsonDocument, JsonPath } from "./document.ts";
import type { MergedConfig } from "./merge.ts";
import { formatValue, type ProblemCollector } from "./problem.ts";

/** What the blocks `customizations.vscode` of image, features and file ask of an editor. */
export interface VscodeCustomizations {
  /** Defaults of the machine: a user's own settings and those of the folder go before them. */
  settings: Record<string, unknown>;
  /** Identifiers, `publisher.name`, in the order in which they were named. */
  extensions: string[];
}

/**
 * An entry with its `settings` and `extensions` in its block `customizations.vscode`, when they stand beside its other
 * properties: the oldest form, from before there were blocks. As the reference implementation takes it, what stands in
 * the block goes before it.
 */
export function withOldestForm<T extends MetadataEntry>(entry: T): T {
  const { settings, extensions } = entry as { settings?: unknown; extensions?: unknown };
  if (!isObject(settings) && !Array.isArray(extensions)) return entry;
  const block = isObject(entry.customizations?.vscode) ? entry.customizations.vscode : {};
  const vscode = {
    ...block,
    ...(isObject(settings) && { settings: { ...settings, ...(isObject(block.settings) ? block.settings : {}) } }),
    ...(Array.isArray(extensions) && {
      extensions: [...(Array.isArray(block.extensions) ? block.extensions : []), ...extensions],
    }),
  };
  return { ...entry, customizations: { ...entry.customizations, vscode } };
}

/**
 * The blocks together: of a setting the last value; extensions are a union, from which a later block takes one away by a
 * `-` before its identifier. What is no object, or no list of text, is left out: {@link checkVscode} told it.
 */
export function vscodeOf({ customizations }: Pick<MergedConfig, "customizations">): VscodeCustomizations {
  const settings: Record<string, unknown> = {};
  const extensions = new Map<string, string>();
  for (const block of customizations.vscode ?? []) {
    if (!isObject(block)) continue;
    if (isObject(block.settings)) Object.assign(settings, block.settings);
    for (const identifier of Array.isArray(block.extensions) ? block.extensions : []) {
      if (typeof identifier !== "string") continue;
      const key = identifier.toLowerCase();
      if (key.startsWith("-")) extensions.delete(key.slice(1));
      else extensions.set(key, identifier);
    }
  }
  return { settings, extensions: [...extensions.values()] };
}

/** Why a property that the schema does not know means something all the same: the oldest form of an editor's block. */
export function oldestForm(name: string): string | undefined {
  return name === "settings" || name === "extensions"
    ? `is the oldest form of customizations.vscode.${name}: taken as that`
    : undefined;
}

/** Warns of what an editor leaves out of a block `customizations.vscode`, which stands in the object at `at`. */
export function checkVscode(document: JsonDocument, problems: ProblemCollector, at: JsonPath = []): void {
  const path = [...at, "customizations", "vscode"];
  const block = document.valueAt(path);
  checkBlock(document, problems, at);
  if (block === undefined) return;
  expecting(problems)(isObject(block), path, block, "an object");
  if (isObject(block)) checkBlock(document, problems, path);
}

/** What stands in a block, or in its oldest form beside all else. */
function checkBlock(document: JsonDocument, problems: ProblemCollector, at: JsonPath): void {
  const expect = expecting(problems);
  const settings = document.valueAt([...at, "settings"]) ?? {};
  const extensions = document.valueAt([...at, "extensions"]) ?? [];
  expect(isObject(settings), [...at, "settings"], settings, "an object");
  expect(Array.isArray(extensions), [...at, "extensions"], extensions, "a list of identifiers");
  for (const [index, identifier] of (Array.isArray(extensions) ? extensions : []).entries()) {
    const isRight = typeof identifier === "string" && /^-?[\w-]+\.[\w.-]+(@[\w.-]+)?$/.test(identifier);
    expect(isRight, [...at, "extensions", index], identifier, 'an identifier such as "publisher.name"');
  }
}

function expecting(problems: ProblemCollector) {
  return (isRight: boolean, place: JsonPath, value: unknown, what: string) => {
    const message = `is ${formatValue(value)}: must be ${what}, and is left out`;
    if (!isRight) problems.add(place, message, { severity: "warning" });
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

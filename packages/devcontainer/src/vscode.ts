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

/** Warns of what an editor leaves out of a block `customizations.vscode`, which stands in the object at `at`. */
export function checkVscode(document: JsonDocument, problems: ProblemCollector, at: JsonPath = []): void {
  const path = [...at, "customizations", "vscode"];
  const block = document.valueAt(path);
  if (block === undefined) return;
  const expect = (isRight: boolean, place: JsonPath, value: unknown, what: string) => {
    const message = `is ${formatValue(value)}: must be ${what}, and is left out`;
    if (!isRight) problems.add(place, message, { severity: "warning" });
  };
  expect(isObject(block), path, block, "an object");
  const { settings = {}, extensions = [] } = isObject(block) ? block : {};
  expect(isObject(settings), [...path, "settings"], settings, "an object");
  expect(Array.isArray(extensions), [...path, "extensions"], extensions, "a list of identifiers");
  for (const [index, identifier] of (Array.isArray(extensions) ? extensions : []).entries()) {
    const isRight = typeof identifier === "string" && /^-?[\w-]+\.[\w.-]+(@[\w.-]+)?$/.test(identifier);
    expect(isRight, [...path, "extensions", index], identifier, 'an identifier such as "publisher.name"');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

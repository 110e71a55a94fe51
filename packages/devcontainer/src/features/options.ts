import { DormouseError } from "@dormouse/base";
import type { FeatureValue } from "../config.ts";
import { suggest } from "../suggest.ts";
import type { FeatureMetadata } from "./metadata.ts";

/** Options by name, as a feature's script gets them. */
export type FeatureOptions = Readonly<Record<string, string | boolean>>;

/** What a feature's script runs with. */
export interface ResolvedOptions {
  /** What was given and the defaults of all others. */
  options: FeatureOptions;
  /** The same as environment variables ("Option resolution"). */
  environment: Readonly<Record<string, string>>;
  /** Options that the feature does not know; it gets them all the same. */
  unknown: readonly { name: string; suggestion?: string }[];
}

/** The options that stand behind a feature's value: a string alone is its version. */
export function givenOptions(value: FeatureValue): FeatureOptions {
  return typeof value === "string" ? { version: value } : value;
}

/**
 * What a feature runs with when it is given `value`.
 * @throws DormouseError `invalid_argument` for a value of the wrong type or outside of the option's list.
 */
export function resolveOptions(metadata: FeatureMetadata, value: FeatureValue): ResolvedOptions {
  const given = givenOptions(value);
  const declared = new Map(Object.entries(metadata.options ?? {}));
  for (const [name, option] of Object.entries(given)) checkOption(metadata, name, option);
  const defaults = [...declared].map(([name, option]) => [name, option.default] as const);
  const options = Object.fromEntries([...defaults, ...Object.entries(given)]);
  const unknown = Object.keys(given)
    // The version is passed on in any case: the shorthand gives it to every feature.
    .filter((name) => !declared.has(name) && name !== "version")
    .map((name) => {
      const suggestion = suggest(name, [...declared.keys()]);
      return suggestion === undefined ? { name } : { name, suggestion };
    });
  return { options, environment: environmentOf(options), unknown };
}

function checkOption(metadata: FeatureMetadata, name: string, value: string | boolean): void {
  const option = Object.hasOwn(metadata.options ?? {}, name) ? metadata.options?.[name] : undefined;
  if (!option) return;
  const shown = `option ${name} of feature ${metadata.id} is ${JSON.stringify(value)}`;
  // Strings stand for both truth values, too: both reach the script as text.
  if (option.type === "boolean" && typeof value !== "boolean" && value !== "true" && value !== "false") {
    throw new DormouseError("invalid_argument", `${shown}: must be true or false`);
  }
  if (option.type === "string" && typeof value !== "string") {
    throw new DormouseError("invalid_argument", `${shown}: must be a string`);
  }
  if (option.type === "string" && option.enum && !option.enum.includes(String(value))) {
    const choices = option.enum.map((choice) => JSON.stringify(choice)).join(", ");
    throw new DormouseError("invalid_argument", `${shown}: must be one of ${choices}`);
  }
}

/** The name of the environment variable that an option becomes: `nodeGypDependencies` → `NODEGYPDEPENDENCIES`. */
export function optionEnvironmentName(name: string): string {
  return name
    .replace(/[^\w_]/g, "_")
    .replace(/^[\d_]+/g, "_")
    .toUpperCase();
}

function environmentOf(options: FeatureOptions): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [optionEnvironmentName(name), String(value)]),
  );
}

import { createHash } from "node:crypto";
import type { JsonPath } from "./document.ts";

/** What is known before a machine runs. */
export interface LocalVariables {
  /** The environment that `${localEnv:NAME}` reads: of the host for the specification, of whoever creates here. */
  localEnv: Readonly<Record<string, string | undefined>>;
  localWorkspaceFolder: string;
  /** Left as it is while it is not known, like the identifier. */
  containerWorkspaceFolder?: string;
  /** See {@link devcontainerId}. */
  devcontainerId?: string;
}

/** What is known once a machine runs. */
export interface ContainerVariables {
  containerEnv: Readonly<Record<string, string | undefined>>;
}

const variablePattern = /\$\{([^{}]*)\}/g;

/**
 * Replaces the variables that are known before a machine runs, in all strings of a JSON value; `${containerEnv:…}` and
 * what is no variable of the specification are left as they are ("Variables in devcontainer.json"). Unset variables of
 * the environment become their default or nothing. What was put in is not looked at again.
 */
export function substituteLocal<T>(value: T, variables: LocalVariables): T {
  return replaceDeep(value, (name, rest) => {
    switch (name) {
      case "localEnv":
      // How it was written before the specification.
      case "env":
        return fromEnvironment(variables.localEnv, rest);
      case "localWorkspaceFolder":
        return variables.localWorkspaceFolder;
      case "localWorkspaceFolderBasename":
        return baseName(variables.localWorkspaceFolder);
      case "containerWorkspaceFolder":
        return variables.containerWorkspaceFolder;
      case "containerWorkspaceFolderBasename":
        return variables.containerWorkspaceFolder && baseName(variables.containerWorkspaceFolder);
      case "devcontainerId":
        return variables.devcontainerId;
      default:
        return undefined;
    }
  });
}

/** Replaces `${containerEnv:NAME}` and `${containerEnv:NAME:default}` in all strings of a JSON value. */
export function substituteContainer<T>(value: T, variables: ContainerVariables): T {
  return replaceDeep(value, (name, rest) =>
    name === "containerEnv" ? fromEnvironment(variables.containerEnv, rest) : undefined,
  );
}

/**
 * The identifier behind `${devcontainerId}`, computed from the labels that tell this container from all others
 * ("Dev Container ID", "Label-based computation"): 52 characters of base 32.
 */
export function devcontainerId(labels: Readonly<Record<string, string>>): string {
  const text = JSON.stringify(labels, Object.keys(labels).sort());
  const digest = createHash("sha256").update(text, "utf8").digest("hex");
  return BigInt(`0x${digest}`).toString(32).padStart(52, "0");
}

/** A variable in a string of a document. */
export interface VariableUse {
  path: JsonPath;
  /** As it is written, `${localEnv:HOME}`. */
  text: string;
  /** `localEnv`. */
  name: string;
}

/** Every `${…}` in the strings of a JSON value. */
export function findVariables(value: unknown, path: JsonPath = []): VariableUse[] {
  if (typeof value === "string") {
    return [...value.matchAll(variablePattern)].map(([text, inner = ""]) => ({
      path,
      text,
      name: splitName(inner).name,
    }));
  }
  if (Array.isArray(value)) return value.flatMap((item, index) => findVariables(item, [...path, index]));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => findVariables(item, [...path, name]));
}

type Replacement = (name: string, rest: string | undefined) => string | undefined;

function replaceDeep<T>(value: T, replacement: Replacement): T {
  return replaceUnknown(value, replacement) as T;
}

function replaceUnknown(value: unknown, replacement: Replacement): unknown {
  if (typeof value === "string") {
    return value.replace(variablePattern, (text, inner: string) => {
      const { name, rest } = splitName(inner);
      return replacement(name, rest) ?? text;
    });
  }
  if (Array.isArray(value)) return value.map((item) => replaceUnknown(item, replacement));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, replaceUnknown(item, replacement)]));
}

function splitName(inner: string): { name: string; rest: string | undefined } {
  const colon = inner.indexOf(":");
  return colon < 0 ? { name: inner, rest: undefined } : { name: inner.slice(0, colon), rest: inner.slice(colon + 1) };
}

function fromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  rest: string | undefined,
): string | undefined {
  // Without a name there is nothing to look up: the text stays, so that the mistake can be seen.
  if (!rest) return undefined;
  // A default ends at its first colon, as tools have it that came before.
  const [name = "", fallback = ""] = rest.split(":");
  return (Object.hasOwn(environment, name) ? environment[name] : undefined) ?? fallback;
}

/** The last part of a path, with slashes of either kind. */
export function baseName(path: string): string {
  return path.split(/[\\/]/).findLast((part) => part !== "") ?? "";
}

import { usageError } from "./exit.ts";

/** Collects `--env NAME=value` options. */
export function addVariable(text: string, variables: Record<string, string> = {}): Record<string, string> {
  const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=([\s\S]*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw usageError(`--env is ${JSON.stringify(text)}: it must be NAME=value`);
  }
  return { ...variables, [name]: value };
}

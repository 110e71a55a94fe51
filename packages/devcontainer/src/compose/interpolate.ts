import type { JsonPath } from "../document.ts";

/** What is told while variables are replaced. */
export interface InterpolationReport {
  /** A variable that is not set, and counts as empty. */
  onUnset(path: JsonPath, name: string): void;
  onError(path: JsonPath, message: string): void;
}

/**
 * Replaces variables in all strings of a Compose file as Compose does: `$NAME`, `${NAME}`, with `:-`, `-`, `:?`, `?`, `:+`
 * and `+` inside the braces, whose right sides may have variables themselves; `$$` is a dollar sign.
 * https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
 */
export function interpolate(
  value: unknown,
  env: Readonly<Record<string, string>>,
  report: InterpolationReport,
  path: JsonPath = [],
): unknown {
  if (typeof value === "string") return interpolateText(value, env, report, path);
  if (Array.isArray(value)) return value.map((item, index) => interpolate(item, env, report, [...path, index]));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, interpolate(item, env, report, [...path, name])]),
  );
}

const namePattern = /^[A-Za-z_][A-Za-z0-9_]*/;

function interpolateText(
  text: string,
  env: Readonly<Record<string, string>>,
  report: InterpolationReport,
  path: JsonPath,
): string {
  let result = "";
  let rest = text;
  for (;;) {
    const dollar = rest.indexOf("$");
    if (dollar < 0) return result + rest;
    result += rest.slice(0, dollar);
    rest = rest.slice(dollar + 1);
    if (rest.startsWith("$")) {
      result += "$";
      rest = rest.slice(1);
      continue;
    }
    const plain = namePattern.exec(rest)?.[0];
    if (plain !== undefined) {
      result += lookUp(plain, env, report, path);
      rest = rest.slice(plain.length);
      continue;
    }
    const end = rest.startsWith("{") ? closingBrace(rest) : -1;
    const [, name, operator, word] =
      /^([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])(.*))?$/s.exec(end < 0 ? "" : rest.slice(1, end)) ?? [];
    if (name === undefined) {
      report.onError(path, `has a $ that begins no variable in ${JSON.stringify(text)}: a dollar sign is written $$`);
      return text;
    }
    result += expand({ name, operator, word: word ?? "" }, env, report, path);
    rest = rest.slice(end + 1);
  }
}

function lookUp(name: string, env: Readonly<Record<string, string>>, report: InterpolationReport, path: JsonPath) {
  if (Object.hasOwn(env, name)) return env[name] ?? "";
  report.onUnset(path, name);
  return "";
}

function expand(
  { name, operator, word }: { name: string; operator: string | undefined; word: string },
  env: Readonly<Record<string, string>>,
  report: InterpolationReport,
  path: JsonPath,
): string {
  if (operator === undefined) return lookUp(name, env, report, path);
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  const isSet = operator.startsWith(":") ? Boolean(value) : value !== undefined;
  const other = () => interpolateText(word, env, report, path);
  if (operator.endsWith("+")) return isSet ? other() : "";
  if (isSet) return value ?? "";
  if (operator.endsWith("-")) return other();
  report.onError(path, `needs the variable ${name}${word === "" ? "" : `: ${other()}`}`);
  return "";
}

/** Where the brace that a text begins with is closed; -1: nowhere. */
function closingBrace(text: string): number {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "{" && (at === 0 || text[at - 1] === "$")) depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  return -1;
}

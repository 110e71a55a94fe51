import type { JsonDocument, JsonPath } from "./document.ts";

/** Whether a file can be used in spite of a problem. */
export type Severity = "error" | "warning";

/** One thing that is wrong in a file, where it stands, and what would be right. */
export interface Problem {
  severity: Severity;
  /** The file as its path was given. */
  file: string;
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 code units. */
  column: number;
  /** As in `build.args.NODE` or `features["registry.example/team/node:1"]`; empty for the file as a whole. */
  property: string;
  /** What stands there; absent where something is missing, and for the file as a whole. */
  value?: unknown;
  /** In plain words, without the property's name: `is 70000: must be a whole number from 0 to 65535`. */
  message: string;
}

/** What a problem says besides its place. */
export interface ProblemOptions {
  severity?: Severity;
  /** Points at the property's name instead of its value. */
  atKey?: boolean;
  /** Names a property that is not there, inside the one the path leads to. */
  missing?: string;
}

/** Of each severity: nobody reads more, and a file may be wrong a hundred thousand times. */
const maxProblems = 100;

/** Collects the problems of one document, each at most once for a place. */
export class ProblemCollector {
  readonly #document: JsonDocument;
  readonly #problems: Problem[] = [];
  readonly #counts = { error: 0, warning: 0 };

  constructor(document: JsonDocument) {
    this.#document = document;
  }

  add(path: JsonPath, message: string, options: ProblemOptions = {}): void {
    const severity = options.severity ?? "error";
    if (this.isFull(severity)) return;
    const property = formatPath(options.missing === undefined ? path : [...path, options.missing]);
    if (this.#problems.some((other) => other.property === property && other.message === message)) return;
    const { line, column } = this.#document.positionOf(path, options.atKey ? "key" : "value");
    const problem: Problem = { severity, file: this.#document.path, line, column, property, message };
    if (options.missing === undefined && path.length > 0) problem.value = this.#document.valueAt(path);
    this.#problems.push(problem);
    this.#counts[severity]++;
  }

  /** Whether no more problems of a severity are taken: finding them is no use any more. */
  isFull(severity: Severity): boolean {
    return this.#counts[severity] >= maxProblems;
  }

  get hasErrors(): boolean {
    return this.#counts.error > 0;
  }

  /** Every problem, in the order in which they stand in the file. */
  sorted(): Problem[] {
    return this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}

/** A path for people: dots between plain names, brackets around all others. */
export function formatPath(path: JsonPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_$][\w$-]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

const shownCharacters = 60;

/** A value for a message: short values as JSON, objects and lists by what they are. */
export function formatValue(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text;
}

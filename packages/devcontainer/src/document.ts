import { createScanner, type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import type { Problem } from "./problem.ts";

/** The way from a document's root to a value: names of properties and places in lists. */
export type JsonPath = readonly (string | number)[];

/** A place in a text, both from 1; columns count UTF-16 code units. */
export interface TextPosition {
  line: number;
  column: number;
}

/** A parsed JSON file with comments, which still knows where everything stands. */
export interface JsonDocument {
  /** The file as its path was given. */
  path: string;
  value: unknown;
  /** Names that are given twice in one object; the last one counts. */
  duplicates: readonly JsonPath[];
  valueAt(path: JsonPath): unknown;
  /** Where a value or its name begins; the nearest one around it when there is none. */
  positionOf(path: JsonPath, part: "key" | "value"): TextPosition;
}

/** A definition is written by hand: this is far above any real one, and bounds what parsing may cost. */
const maxCharacters = 1024 * 1024;
/** The parser is recursive; real definitions are some ten levels deep. */
const maxDepth = 100;

interface Place {
  key: number;
  value: number;
}

/** Reads JSON with comments and trailing commas. What cannot be read gives the first problem only. */
export function readDocument(
  text: string,
  path: string,
): { document: JsonDocument; problem?: undefined } | { document?: undefined; problem: Problem } {
  const failure = (offset: number, message: string) => ({
    problem: {
      severity: "error" as const,
      file: path,
      ...positionAt(lineStartsOf(text), offset),
      property: "",
      message,
    },
  });
  if (text.length > maxCharacters) {
    return failure(0, `is ${text.length} characters long: must be at most ${maxCharacters}`);
  }
  const tooDeep = offsetBeyondDepth(text);
  if (tooDeep !== undefined) return failure(tooDeep, `is nested too deeply: must be at most ${maxDepth} levels`);

  if (text.trim() === "") return failure(0, "is empty: must be a JSON object");
  const errors: ParseError[] = [];
  // A byte order mark is no part of the content; a blank keeps every offset as it is.
  const content = text.startsWith("\uFEFF") ? ` ${text.slice(1)}` : text;
  const root = parseTree(content, errors, { allowTrailingComma: true });
  const [error] = errors;
  if (error) return failure(error.offset, syntaxMessage(error.error));
  if (!root) return failure(0, "holds no value: must be a JSON object");
  return { document: createDocument(text, path, root) };
}

/** Where a property's name stands in a text; the nearest property around it when there is none. */
export function locate(text: string, path: JsonPath): TextPosition {
  return readDocument(text, "").document?.positionOf(path, "key") ?? { line: 1, column: 1 };
}

function createDocument(text: string, path: string, root: Node): JsonDocument {
  const places = new Map<string, Place>();
  const duplicates: JsonPath[] = [];
  const lineStarts = lineStartsOf(text);
  const convert = (node: Node, at: JsonPath, keyOffset: number): unknown => {
    places.set(pointerOf(at), { key: keyOffset, value: node.offset });
    if (node.type === "array")
      return (node.children ?? []).map((child, index) => convert(child, [...at, index], child.offset));
    if (node.type !== "object") return node.value;
    const entries = new Map<string, unknown>();
    for (const { children: [key, value] = [] } of node.children ?? []) {
      if (!key || !value) continue;
      const name = String(key.value);
      if (entries.has(name)) duplicates.push([...at, name]);
      entries.set(name, convert(value, [...at, name], key.offset));
    }
    return Object.fromEntries(entries);
  };
  const value = convert(root, [], root.offset);
  return {
    path,
    value,
    duplicates,
    valueAt: (at) => at.reduce<unknown>(childOf, value),
    positionOf(at, part) {
      for (let length = at.length; length >= 0; length--) {
        const place = places.get(pointerOf(at.slice(0, length)));
        if (place) return positionAt(lineStarts, length === at.length ? place[part] : place.value);
      }
      return { line: 1, column: 1 };
    },
  };
}

function childOf(value: unknown, part: string | number): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
  return (value as Record<string | number, unknown>)[part];
}

function pointerOf(path: JsonPath): string {
  return path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** Reads a JSON pointer (RFC 6901) below a path; places in lists become numbers where the document has a list. */
export function pathBelow(base: JsonPath, pointer: string, document: JsonDocument): JsonPath {
  const path = [...base];
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    path.push(Array.isArray(document.valueAt(path)) ? Number(name) : name);
  }
  return path;
}

function lineStartsOf(text: string): number[] {
  return [0, ...Array.from(text.matchAll(/\r\n|\n|\r/g), ({ 0: lineBreak, index }) => index + lineBreak.length)];
}

function positionAt(lineStarts: readonly number[], offset: number): TextPosition {
  const line = Math.max(
    0,
    lineStarts.findLastIndex((start) => start <= offset),
  );
  return { line: line + 1, column: offset - (lineStarts[line] ?? 0) + 1 };
}

/** The parser's `SyntaxKind`, which exists as a type only. */
const tokens = { openBrace: 1, closeBrace: 2, openBracket: 3, closeBracket: 4, end: 17 } as const;

function offsetBeyondDepth(text: string): number | undefined {
  const scanner = createScanner(text, true);
  let depth = 0;
  for (let token: number = scanner.scan(); token !== tokens.end; token = scanner.scan()) {
    if (token === tokens.openBrace || token === tokens.openBracket) depth++;
    if (token === tokens.closeBrace || token === tokens.closeBracket) depth--;
    if (depth > maxDepth) return scanner.getTokenOffset();
  }
  return undefined;
}

const syntaxMessages: ReadonlyMap<string, string> = new Map([
  ["InvalidSymbol", "this is no JSON value: strings need double quotes"],
  ["InvalidNumberFormat", "this is no JSON number"],
  ["PropertyNameExpected", "a property's name in double quotes must stand here"],
  ["ValueExpected", "a value must stand here"],
  ["ColonExpected", "a colon must stand here"],
  ["CommaExpected", "a comma must stand here"],
  ["CloseBraceExpected", "a closing brace } must stand here"],
  ["CloseBracketExpected", "a closing bracket ] must stand here"],
  ["EndOfFileExpected", "the file must end here"],
  ["UnexpectedEndOfComment", "this comment has no end"],
  ["UnexpectedEndOfString", "this string has no closing double quote on its line"],
  ["UnexpectedEndOfNumber", "this number is not complete"],
  ["InvalidUnicode", "this is no Unicode escape: it must be \\u and four hexadecimal digits"],
  ["InvalidEscapeCharacter", "this is no escape of JSON: a backslash itself is written \\\\"],
  ["InvalidCharacter", "a control character must be written as an escape here"],
]);

function syntaxMessage(code: number): string {
  return syntaxMessages.get(printParseErrorCode(code)) ?? "this is no valid JSON";
}

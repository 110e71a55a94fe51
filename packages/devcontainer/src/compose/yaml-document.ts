import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from "yaml";
import type { JsonDocument, JsonPath, TextPosition } from "../document.ts";
import type { Problem } from "../problem.ts";

/** A parsed YAML file, which still knows where everything stands. */
export interface YamlDocument extends JsonDocument {
  /** Values that are tagged `!reset` or `!override`: they are not merged with what earlier files say. */
  tags: readonly { path: JsonPath; tag: "reset" | "override" }[];
}

/** A definition is written by hand: this is far above any real one, and bounds what parsing may cost. */
const maxCharacters = 1024 * 1024;

/** Reads YAML 1.2 with merge keys (`<<`). What cannot be read gives the first problem only. */
export function readYaml(
  text: string,
  path: string,
): { document: YamlDocument; problem?: undefined } | { document?: undefined; problem: Problem } {
  const lines = new LineCounter();
  const failure = (offset: number, message: string) => {
    const { line, col } = lines.linePos(offset);
    return {
      problem: {
        ...{ severity: "error" as const, file: path, property: "", message },
        ...{ line: Math.max(1, line), column: Math.max(1, col) },
      },
    };
  };
  if (text.length > maxCharacters) {
    return failure(0, `is ${text.length} characters long: must be at most ${maxCharacters}`);
  }
  let parsed: ParsedDocument;
  try {
    parsed = parseDocument(text, { lineCounter: lines, merge: true, prettyErrors: false, logLevel: "silent" });
  } catch {
    // The parser calls itself for each level, and knows no other end than that of the stack.
    return failure(0, "is nested too deeply");
  }
  const [error] = parsed.errors;
  if (error) return failure(error.pos[0], messages.get(error.code) ?? "this is no valid YAML");
  let value: unknown;
  try {
    value = parsed.toJS({ maxAliasCount: 1000 });
  } catch {
    return failure(0, "names anchors that are not there, or far too often");
  }
  const find = (at: JsonPath) => nodeAt(parsed.contents as Node | null, at, (node) => resolve(node, parsed));
  const document: YamlDocument = {
    path,
    value,
    duplicates: [],
    tags: tagsOf(parsed),
    valueAt: (at) => at.reduce<unknown>(childOf, value),
    positionOf(at, part): TextPosition {
      for (let length = at.length; length >= 0; length--) {
        const found = find(at.slice(0, length));
        if (!found) continue;
        const offset = (length === at.length && part === "key" ? found.key : found.value)?.range?.[0];
        if (offset === undefined) continue;
        const { line, col } = lines.linePos(offset);
        return { line, column: col };
      }
      return { line: 1, column: 1 };
    },
  };
  return { document };
}

/** The same file with another value in its place, such as one in which variables are replaced. */
export function withValue(document: YamlDocument, value: unknown): YamlDocument {
  return { ...document, value, valueAt: (at) => at.reduce<unknown>(childOf, value) };
}

function childOf(value: unknown, part: string | number): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
  return (value as Record<string | number, unknown>)[part];
}

type ParsedDocument = ReturnType<typeof parseDocument>;

function resolve(node: Node | null | undefined, parsed: ParsedDocument): Node | null | undefined {
  return isAlias(node) ? (node.resolve(parsed) as Node | undefined) : node;
}

interface Found {
  key: Node | undefined;
  value: Node | undefined;
}

/** Where a value and its name stand; what a merge key brought in is where it was written. */
function nodeAt(
  root: Node | null,
  path: JsonPath,
  follow: (node: Node | null | undefined) => Node | null | undefined,
): Found | undefined {
  let found: Found = { key: undefined, value: root ?? undefined };
  for (const part of path) {
    const next = childNode(follow(found.value), part, follow);
    if (!next) return undefined;
    found = next;
  }
  return found.value || found.key ? found : undefined;
}

function childNode(
  node: Node | null | undefined,
  part: string | number,
  follow: (node: Node | null | undefined) => Node | null | undefined,
): Found | undefined {
  if (isSeq(node)) {
    const item = node.items[Number(part)] as Node | undefined;
    return item && { key: item, value: item };
  }
  if (!isMap(node)) return undefined;
  for (const pair of node.items) {
    if (isScalar(pair.key) && String(pair.key.value) === String(part)) {
      return { key: pair.key, value: (pair.value as Node | null) ?? pair.key };
    }
  }
  for (const pair of node.items) {
    if (!isScalar(pair.key) || pair.key.value !== "<<") continue;
    const merged = follow(pair.value as Node);
    for (const source of isSeq(merged) ? merged.items : [merged]) {
      const found = childNode(follow(source as Node), part, follow);
      if (found) return found;
    }
  }
  return undefined;
}

function tagsOf(parsed: ParsedDocument): YamlDocument["tags"] {
  const tags: { path: JsonPath; tag: "reset" | "override" }[] = [];
  visit(parsed, {
    Node(_, node, ancestors) {
      const tag = /^!(reset|override)$/.exec(node.tag ?? "")?.[1];
      if (tag) tags.push({ path: pathOf(node, ancestors), tag: tag as "reset" | "override" });
    },
  });
  return tags;
}

function pathOf(node: unknown, ancestors: readonly unknown[]): JsonPath {
  const chain = [...ancestors, node];
  return ancestors.flatMap((ancestor, index): JsonPath => {
    if (isSeq(ancestor)) return [ancestor.items.indexOf(chain[index + 1])];
    return isPair(ancestor) && isScalar(ancestor.key) ? [String(ancestor.key.value)] : [];
  });
}

const messages: ReadonlyMap<string, string> = new Map([
  ["TAB_AS_INDENT", "a tab stands where only blanks may indent"],
  ["BAD_INDENT", "this is not indented as what it belongs to"],
  ["DUPLICATE_KEY", "this name is given twice in one mapping"],
  ["MISSING_CHAR", "a closing quote, bracket or colon is missing before here"],
  ["MULTIPLE_DOCS", "a second document begins here: there must be one"],
  ["BLOCK_AS_IMPLICIT_KEY", "a mapping must begin on a line of its own"],
  ["MULTILINE_IMPLICIT_KEY", "a name must be on one line, with its colon"],
  ["BAD_ALIAS", "there is no anchor of this name before here"],
  ["UNEXPECTED_TOKEN", "this does not belong here"],
]);

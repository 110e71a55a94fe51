import type { ErrorObject } from "ajv";
import { type JsonDocument, type JsonPath, pathBelow } from "../document.ts";
import { formatPath, formatValue, type ProblemCollector, type Severity } from "../problem.ts";
import { suggest } from "../suggest.ts";
import { withoutOtherAlternatives } from "./alternatives.ts";
import { describePattern, describeSchema, resolveReference, type SchemaNode } from "./expectation.ts";
import type { Validator } from "./validators.ts";

/** Where and how a schema's errors are reported. */
export interface ExplainOptions {
  validator: Validator;
  document: JsonDocument;
  problems: ProblemCollector;
  /** Where the validated value stands in the document. */
  at?: JsonPath;
  /** What the validated value is, for messages: `devcontainer.json`. */
  noun: string;
  /** More names that may stand at the top, and why they are no use there. */
  misplaced?: (name: string) => string | undefined;
}

/** Validates the value at a place of a document and reports what is wrong in plain words. */
export function validateDocument(options: ExplainOptions): void {
  const { validator, document, problems, at = [] } = options;
  const errors = withoutOtherAlternatives(validator.validate(document.valueAt(at)), validator);
  const told = new Set<string>();
  for (const error of errors) {
    if (problems.isFull(severityOf(error))) continue;
    const path = pathBelow(at, error.instancePath, document);
    if (reportProperty(error, path, options)) continue;
    // Type, range and pattern of one value are one problem: its description holds all of them.
    if (told.has(error.instancePath)) continue;
    told.add(error.instancePath);
    problems.add(path, describeMismatch(document.valueAt(path), error));
  }
}

/** Reports what concerns a property's being there or not; answers false for any other error. */
function reportProperty(error: ErrorObject, path: JsonPath, options: ExplainOptions): boolean {
  const { problems, validator } = options;
  const parentSchema = (error.parentSchema ?? {}) as SchemaNode;
  switch (error.keyword) {
    case "required": {
      const missing = String(error.params.missingProperty);
      const schema = knownProperties(parentSchema, validator.definitions).get(missing);
      const expected =
        typeof schema === "object"
          ? `: must be ${describeSchema(resolveReference(schema, validator.definitions))}`
          : "";
      problems.add(path, `is missing${expected}`, { missing });
      return true;
    }
    case "additionalProperties":
    case "unevaluatedProperties": {
      const name = String(error.params.additionalProperty ?? error.params.unevaluatedProperty);
      const pattern = namePatternOf(error);
      const message =
        pattern === undefined
          ? describeUnknown(name, path, parentSchema, options)
          : `must be named by ${describePattern(pattern)}`;
      problems.add([...path, name], message, { severity: severityOf(error), atKey: true });
      return true;
    }
    case "false schema":
      problems.add(path, "is not allowed here", { atKey: true });
      return true;
    default:
      return false;
  }
}

/** A property that is not known is a warning, unless names have a form there that this one has not. */
function severityOf(error: ErrorObject): Severity {
  const concernsName = error.keyword === "additionalProperties" || error.keyword === "unevaluatedProperties";
  return concernsName && namePatternOf(error) === undefined ? "warning" : "error";
}

function namePatternOf({ parentSchema }: ErrorObject): string | undefined {
  const patterns = Object.keys((parentSchema as SchemaNode | undefined)?.patternProperties ?? {});
  // Names of this form may be anywhere in a Compose file, beside those that mean something.
  return patterns.find((pattern) => pattern !== "^x-");
}

function describeUnknown(name: string, path: JsonPath, parentSchema: SchemaNode, options: ExplainOptions): string {
  const isTop = path.length === (options.at ?? []).length;
  const misplaced = isTop ? options.misplaced?.(name) : undefined;
  if (misplaced !== undefined) return misplaced;
  const known = [...knownProperties(parentSchema, options.validator.definitions).keys()];
  const near = suggest(name, known);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return `is no property of ${isTop ? options.noun : formatPath(path)}${hint}`;
}

/** Every property that a schema knows, also through `allOf` and `$ref`. */
export function knownProperties(
  schema: SchemaNode,
  definitions: ReadonlyMap<string, SchemaNode>,
): Map<string, SchemaNode | boolean> {
  const properties = new Map(Object.entries(schema.properties ?? {}));
  // The published schema lists this keyword among the properties by mistake.
  properties.delete("additionalProperties");
  const referred = schema.$ref === undefined ? [] : [resolveReference(schema, definitions)];
  for (const part of [...(schema.allOf ?? []), ...referred]) {
    for (const [name, property] of knownProperties(part, definitions)) properties.set(name, property);
  }
  return properties;
}

function describeMismatch(value: unknown, error: ErrorObject): string {
  const schema = (error.parentSchema ?? {}) as SchemaNode;
  const near =
    typeof value === "string" && schema.enum
      ? suggest(
          value,
          schema.enum.filter((candidate) => typeof candidate === "string"),
        )
      : undefined;
  const hint = near === undefined ? "" : `; did you mean ${JSON.stringify(near)}?`;
  return `is ${formatValue(value)}: must be ${describeSchema(schema)}${hint}`;
}

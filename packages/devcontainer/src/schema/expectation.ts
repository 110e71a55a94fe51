/** As much of a JSON schema as messages are made of. */
export interface SchemaNode {
  $ref?: string;
  type?: string | readonly string[];
  enum?: readonly unknown[];
  const?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  minLength?: number;
  items?: SchemaNode;
  oneOf?: readonly SchemaNode[];
  anyOf?: readonly SchemaNode[];
  allOf?: readonly SchemaNode[];
  properties?: Readonly<Record<string, SchemaNode | boolean>>;
  patternProperties?: Readonly<Record<string, SchemaNode | boolean>>;
  additionalProperties?: SchemaNode | boolean;
}

/** What the patterns of the schemas mean. */
const patternWords: Readonly<Record<string, string>> = {
  "^\\d+([tgmk]b)?$": 'a size such as "8gb", in tb, gb, mb, kb or bytes',
  "^([a-z0-9-]+):(\\d{1,5})$": '"host:port" such as "db:5432"',
  "^[a-zA-Z_][a-zA-Z0-9_]*$": "the name of an environment variable: letters, digits and _, no digit first",
  "(^\\d+(-\\d+)?$)|(.+)": "a port, a range of ports or a regular expression",
  "^([0-9]+[smhd])+$": 'a time such as "45s", "90m", "1h30m" or "14d"',
  "^\\S+( \\S+){4}$": 'five fields with blanks between them, such as "0 3 * * 1"',
  "^[a-zA-Z0-9._-]+$": "letters, digits, dots, hyphens and underscores",
  "^sha256:[0-9a-f]{64}$": "sha256: and 64 hexadecimal digits",
  "^[0-9]{1,5}$": "the number of a port",
  "^(\\*\\.)?[a-z0-9-]+(\\.[a-z0-9-]+)*(:[0-9]{1,5})?$":
    'the name of a host in lower case such as "registry.example", "*.example" or "git.example:22"',
};

/** What a schema's `$ref` leads to; the schema itself when it has none. */
export function resolveReference(schema: SchemaNode, definitions: ReadonlyMap<string, SchemaNode>): SchemaNode {
  return (schema.$ref === undefined ? undefined : definitions.get(schema.$ref)) ?? schema;
}

/** What a pattern of the schemas asks for, in plain words. */
export function describePattern(pattern: string): string {
  return patternWords[pattern] ?? `text that matches ${pattern}`;
}

/** What a schema asks for, in plain words: it goes on after "must be". */
export function describeSchema(schema: SchemaNode): string {
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (alternatives) return joinAlternatives(alternatives.map(describeSchema));
  if (schema.enum) return describeValues(schema.enum);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.pattern !== undefined) return describePattern(schema.pattern);
  if (schema.minLength !== undefined) return "a string that is not empty";
  const types = schema.type === undefined ? [] : [schema.type].flat();
  return joinAlternatives(types.map((type) => describeType(type, schema)));
}

function describeType(type: string, schema: SchemaNode): string {
  switch (type) {
    case "string":
      return "a string";
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "integer":
      return `a whole number${describeRange(schema)}`;
    case "array": {
      const items = schema.items?.type;
      const list = items === undefined ? "a list" : `a list of ${[items].flat().map(describeItems).join(" or ")}`;
      return schema.minItems === undefined ? list : `${list} that is not empty`;
    }
    default:
      return "an object";
  }
}

function describeItems(type: string): string {
  return { string: "strings", integer: "whole numbers" }[type] ?? "values";
}

function describeRange({ minimum, maximum }: SchemaNode): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  return minimum === undefined ? "" : ` of at least ${minimum}`;
}

function describeValues(values: readonly unknown[]): string {
  const [only] = values;
  if (values.length === 1) return JSON.stringify(only);
  return `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`;
}

function joinAlternatives(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? "something else";
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

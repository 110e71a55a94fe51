import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import customizationsSchema from "./customizations.schema.json" with { type: "json" };
import baseSchema from "./devcontainer.base.schema.json" with { type: "json" };

const docs = new URL("../../../../docs/", import.meta.url);

test("the documented schema of our block is the one that validates", async () => {
  const documented = await readFile(new URL("devcontainer-customizations.schema.json", docs), "utf8");
  expect(JSON.parse(documented)).toEqual(customizationsSchema);
});

/** A part of a JSON Schema, as far as properties are found in it. */
interface SchemaNode {
  properties?: Record<string, SchemaNode>;
  patternProperties?: Record<string, SchemaNode | boolean>;
  additionalProperties?: SchemaNode | boolean;
  oneOf?: SchemaNode[];
  anyOf?: SchemaNode[];
  allOf?: SchemaNode[];
}

/** Every property below a node, `a.b`, with `*` for names that are anybody's. */
function propertiesOf(node: SchemaNode, prefix = ""): string[] {
  const named = Object.entries(node.properties ?? {}).map(([name, child]) => [`${prefix}${name}`, child] as const);
  const others = [...Object.values(node.patternProperties ?? {}), node.additionalProperties ?? false].flatMap(
    (child) => (typeof child === "object" ? propertiesOf(child, `${prefix}*.`) : []),
  );
  const alternatives = [...(node.oneOf ?? []), ...(node.anyOf ?? []), ...(node.allOf ?? [])];
  return [
    ...named.flatMap(([name, child]) => [name, ...propertiesOf(child, `${name}.`)]),
    ...others,
    ...alternatives.flatMap((child) => propertiesOf(child, prefix)),
  ];
}

/** The rows of a table of the page that begins with these columns, cell by cell. */
function tableOf(page: string, head: string): string[][] {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(head));
  const rows = lines.slice(start + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe("the documentation's table of properties", async () => {
  const page = await readFile(new URL("devcontainer.md", docs), "utf8");
  const rows = tableOf(page, "| property |").map(([name = "", , , outcome = "", keys = ""]) => ({
    name: name.replaceAll("`", ""),
    outcome,
    keys: keys.split(", "),
  }));
  const tests = tableOf(page, "| | file | test |").map(([key = "", file = "", title = ""]) => ({
    ...{ key, title },
    file: file.replaceAll("`", ""),
  }));

  test("has every property of the published schema, and no others", () => {
    const { definitions } = baseSchema;
    const names = new Set([
      ...propertiesOf(definitions.devContainerCommon as SchemaNode),
      ...propertiesOf(definitions.nonComposeBase as SchemaNode),
      ...propertiesOf(definitions.composeContainer as SchemaNode),
      ...propertiesOf(definitions.imageContainer as SchemaNode),
      ...propertiesOf(definitions.dockerfileContainer as SchemaNode),
      ...propertiesOf(definitions.buildOptions as SchemaNode, "build."),
    ]);
    // Names of features are anybody's; the schema names some for completion alone.
    for (const name of names) if (name.startsWith("features.")) names.delete(name);
    // Said of by their parts.
    for (const name of ["hostRequirements", "otherPortsAttributes", "build"]) names.delete(name);
    // A keyword of JSON Schema that stands among the properties by mistake.
    names.delete("additionalProperties");
    expect(rows.map(({ name }) => name).toSorted()).toEqual([...names].toSorted());
  });

  test("says of each that it works, or why not, and names tests", () => {
    const known = new Set(tests.map(({ key }) => key));
    for (const { name, outcome, keys } of rows) {
      expect(outcome, name).toMatch(/^(works(: .+)?|not yet|(not possible|nothing to do) in a machine, because .+)$/);
      expect(
        keys.filter((key) => !known.has(key)),
        name,
      ).toEqual([]);
    }
    const used = new Set(rows.flatMap(({ keys }) => keys));
    expect(tests.filter(({ key }) => !used.has(key))).toEqual([]);
  });

  test.each(tests)("$key: $file has the test", async ({ file, title }) => {
    const text = await readFile(new URL(`../${file}`, docs), "utf8");
    expect(text).toContain(`"${title}"`);
  });
});

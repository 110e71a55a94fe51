import { Ajv2019 } from "ajv/dist/2019.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseImageMetadata } from "./image-metadata.ts";
import { parseConfig } from "./parse.ts";
import baseSchema from "./schema/devcontainer.base.schema.json" with { type: "json" };

const seed = 20_261_127;
const path = ".devcontainer/devcontainer.json";

const properties = [
  ...Object.keys(baseSchema.definitions.devContainerCommon.properties),
  ...Object.keys(baseSchema.definitions.nonComposeBase.properties),
  ...Object.keys(baseSchema.definitions.composeContainer.properties),
  ...["image", "build", "dockerFile", "context", "unknown", "__proto__", "constructor", "a/b~c"],
];
const values = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom(
    "x",
    3000,
    "db:5432",
    "8gb",
    true,
    null,
    {},
    [],
    { dockerfile: "D" },
    { type: "volume", target: "/x" },
  ),
  fc.constantFrom(
    ["a"],
    { a: "b" },
    { a: ["b"] },
    { cpus: 2, gpu: "optional" },
    { "3000": { label: "a" } },
    { dormouse: { ports: 3 } },
  ),
);
const configs = fc
  .array(fc.tuple(fc.constantFrom(...properties), values), { maxLength: 8 })
  .map((entries) => Object.fromEntries(entries));

function expectPositions(text: string, problems: ReturnType<typeof parseConfig>["problems"]): void {
  const lines = text.split(/\r\n|\n|\r/);
  for (const { line, column } of problems) {
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines.length);
    expect(column).toBeGreaterThanOrEqual(1);
    expect(column).toBeLessThanOrEqual((lines[line - 1]?.length ?? 0) + 1);
  }
}

test("nothing that a file contains is thrown, and every problem lies inside of it", () => {
  const texts = fc.oneof(
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("utf8")),
    fc
      .array(
        fc.constantFrom("{", "}", "[", "]", '"image"', ":", ",", "//", "/*", "*/", "\n", "\r", "1", "e9", '"', "\\"),
      )
      .map((parts) => parts.join("")),
    fc.json(),
    configs.map((config) => JSON.stringify(config, null, 2)),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const { config, problems } = parseConfig(text, { path });
      expectPositions(text, problems);
      expect(config === undefined).toBe(problems.some(({ severity }) => severity === "error"));
      expectPositions(text, parseImageMetadata(text).problems);
    }),
    { seed, numRuns: 2_000 },
  );
});

test("what the published schema refuses has a problem here", () => {
  const published = new Ajv2019({ strict: false, validateFormats: false }).compile(baseSchema);
  fc.assert(
    fc.property(configs, (config) => {
      if (!published(config)) expect(parseConfig(JSON.stringify(config), { path }).problems).not.toEqual([]);
    }),
    { seed, numRuns: 3_000 },
  );
});

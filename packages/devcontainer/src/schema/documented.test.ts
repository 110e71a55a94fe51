import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import customizationsSchema from "./customizations.schema.json" with { type: "json" };
import baseSchema from "./devcontainer.base.schema.json" with { type: "json" };

const docs = new URL("../../../../docs/", import.meta.url);

test("the documented schema of our block is the one that validates", async () => {
  const documented = await readFile(new URL("devcontainer-customizations.schema.json", docs), "utf8");
  expect(JSON.parse(documented)).toEqual(customizationsSchema);
});

test("every property of the published schema stands in the documentation's table", async () => {
  const page = await readFile(new URL("devcontainer.md", docs), "utf8");
  const { definitions } = baseSchema;
  const names = new Set([
    ...Object.keys(definitions.devContainerCommon.properties),
    ...Object.keys(definitions.nonComposeBase.properties),
    ...Object.keys(definitions.composeContainer.properties),
    ...Object.keys(definitions.imageContainer.properties),
    ...["dockerFile", "context", "build.dockerfile", "build.context"],
    ...Object.keys(definitions.buildOptions.properties).map((name) => `build.${name}`),
  ]);
  for (const name of Object.keys(definitions.devContainerCommon.properties.hostRequirements.properties)) {
    names.add(`hostRequirements.${name}`);
  }
  names.delete("hostRequirements");
  // A keyword of JSON Schema that stands among the properties by mistake.
  names.delete("additionalProperties");
  const missing = [...names].filter((name) => !page.includes(`\n| \`${name}\``));
  expect(missing).toEqual([]);
});

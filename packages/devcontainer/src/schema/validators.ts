import { Ajv2019, type ErrorObject, type ValidateFunction } from "ajv/dist/2019.js";
import composeSchema from "./compose.schema.json" with { type: "json" };
import customizationsSchema from "./customizations.schema.json" with { type: "json" };
import baseSchema from "./devcontainer.base.schema.json" with { type: "json" };
import featureSchema from "./devcontainer-feature.schema.json" with { type: "json" };
import type { SchemaNode } from "./expectation.ts";

/** A compiled schema: answers what is wrong, and what it knows. */
export interface Validator {
  validate(value: unknown): readonly ErrorObject[];
  schema: SchemaNode;
  /** What `$ref` leads to, by its text. */
  definitions: ReadonlyMap<string, SchemaNode>;
}

/** What a container is started from. */
export type SourceKind = "image" | "dockerfile" | "legacyDockerfile" | "compose";

// The published schemas use keywords of editors and formats that are annotations only: neither is an error.
const ajvOptions = { allErrors: true, strict: false, validateFormats: false, verbose: true } as const;

/** The published schema, cut down to one way to start: with all of them at once no message says what is wrong. */
const kindSchemas: Readonly<Record<SourceKind, readonly string[]>> = {
  image: ["imageContainer", "nonComposeBase", "devContainerCommon"],
  dockerfile: ["dockerfileContainer/oneOf/0", "nonComposeBase", "devContainerCommon"],
  legacyDockerfile: ["dockerfileContainer/oneOf/1", "nonComposeBase", "devContainerCommon"],
  compose: ["composeContainer", "devContainerCommon"],
};

/** The published definitions, but for `workspaceFolder` of Compose: the reference says that it may be absent. */
const configDefinitions = {
  ...baseSchema.definitions,
  composeContainer: { ...baseSchema.definitions.composeContainer, required: ["dockerComposeFile", "service"] },
};

/** Knows every way to start at once: for a configuration of which it cannot be told. */
export const anySourceValidator: Validator = createValidator({
  definitions: baseSchema.definitions,
  type: "object",
  properties: Object.fromEntries(
    ["image", "build", "dockerFile", "context", "dockerComposeFile", "service", "runServices"].map((name) => [
      name,
      true,
    ]),
  ),
  allOf: refsTo(["nonComposeBase", "devContainerCommon"]),
  unevaluatedProperties: false,
});

/** Validates a configuration that starts from `kind`. */
export const configValidators: Readonly<Record<SourceKind, Validator>> = {
  image: configValidator("image"),
  dockerfile: configValidator("dockerfile"),
  legacyDockerfile: configValidator("legacyDockerfile"),
  compose: configValidator("compose"),
};

/** Validates one entry of an image's `devcontainer.metadata` label, which may come from any way to start. */
export const metadataEntryValidator: Validator = createValidator({
  definitions: baseSchema.definitions,
  type: "object",
  properties: {
    id: { type: "string" },
    entrypoint: { type: "string" },
    overrideCommand: { type: "boolean" },
    shutdownAction: { type: "string", enum: ["none", "stopContainer", "stopCompose"] },
  },
  allOf: refsTo(["devContainerCommon"]),
  unevaluatedProperties: false,
});

/** Validates `devcontainer-feature.json`. */
export const featureValidator: Validator = createValidator({
  definitions: featureSchema.definitions,
  $ref: "#/definitions/Feature",
});

const lockedFeature: SchemaNode & { required: string[] } = {
  type: "object",
  properties: {
    version: { type: "string" },
    resolved: { type: "string" },
    integrity: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    dependsOn: { type: "array", items: { type: "string" } },
  },
  required: ["version", "resolved", "integrity"],
  additionalProperties: false,
};

/** Validates `devcontainer-lock.json`, for which no schema is published. */
export const lockfileValidator: Validator = createValidator({
  type: "object",
  properties: { features: { type: "object", additionalProperties: lockedFeature } },
  required: ["features"],
  additionalProperties: false,
});

/** Validates a Compose file. Its schema is of an earlier draft, of which it uses nothing that has changed since. */
export const composeValidator: Validator = createValidator({
  ...composeSchema,
  $schema: undefined,
  $id: undefined,
});

/** Validates `customizations.dormouse`. */
export const customizationsValidator: Validator = createValidator({ ...customizationsSchema, $schema: undefined });

function configValidator(kind: SourceKind): Validator {
  return createValidator({
    definitions: configDefinitions,
    type: "object",
    allOf: refsTo(kindSchemas[kind]),
    unevaluatedProperties: false,
  });
}

function refsTo(names: readonly string[]): SchemaNode[] {
  return names.map((name) => ({ $ref: `#/definitions/${name}` }));
}

function createValidator(schema: Record<string, unknown>): Validator {
  // Compiling takes longer than reading the largest definition: it waits until somebody validates.
  let compiled: ValidateFunction | undefined;
  return {
    validate(value) {
      compiled ??= new Ajv2019(ajvOptions).compile(schema);
      return compiled(value) ? [] : (compiled.errors ?? []);
    },
    schema: schema as SchemaNode,
    definitions: definitionsOf(schema),
  };
}

function definitionsOf(schema: Record<string, unknown>): Map<string, SchemaNode> {
  const definitions = new Map<string, SchemaNode>();
  for (const [name, definition] of Object.entries((schema.definitions ?? {}) as Record<string, SchemaNode>)) {
    definitions.set(`#/definitions/${name}`, definition);
    for (const [index, alternative] of (definition.oneOf ?? []).entries()) {
      definitions.set(`#/definitions/${name}/oneOf/${index}`, alternative);
    }
  }
  return definitions;
}

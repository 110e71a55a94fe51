import type { ErrorObject } from "ajv";
import { resolveReference, type SchemaNode } from "./expectation.ts";
import type { Validator } from "./validators.ts";

/** Of errors inside `oneOf` and `anyOf`, keeps those of the alternative that was meant, or the one for all of them. */
export function withoutOtherAlternatives(errors: readonly ErrorObject[], { definitions }: Validator): ErrorObject[] {
  const unions = errors.filter(({ keyword }) => keyword === "oneOf" || keyword === "anyOf");
  const within = errorsWithin(errors, new Set(unions.map(({ instancePath }) => instancePath)));
  const dropped = new Set<ErrorObject>();
  for (const union of unions) {
    const nodes = union.schema as SchemaNode[];
    const alternatives = nodes.map(({ $ref }, index) => {
      const prefix = `${$ref ?? `${union.schemaPath}/${index}`}/`;
      return (within.get(union.instancePath) ?? []).filter(({ schemaPath }) => schemaPath.startsWith(prefix));
    });
    const meant = alternativeThatWasMeant(alternatives, union.instancePath);
    for (const errors of alternatives) if (errors !== meant) for (const error of errors) dropped.add(error);
    if (meant) dropped.add(union);
    else union.parentSchema = { anyOf: nodes.map((node) => resolveReference(node, definitions)) };
  }
  return errors.filter((error) => !dropped.has(error));
}

/** Errors at and below each of some places, found in one pass: a hostile file has a hundred thousand of both. */
function errorsWithin(errors: readonly ErrorObject[], places: ReadonlySet<string>): Map<string, ErrorObject[]> {
  const within = new Map<string, ErrorObject[]>([...places].map((place) => [place, []]));
  for (const error of errors) {
    for (let place = error.instancePath; ; place = place.slice(0, place.lastIndexOf("/"))) {
      within.get(place)?.push(error);
      if (place === "") break;
    }
  }
  return within;
}

/** The alternative whose type fits; of several, the one that fits best. */
function alternativeThatWasMeant(
  alternatives: readonly ErrorObject[][],
  instancePath: string,
): readonly ErrorObject[] | undefined {
  const fitting = alternatives.filter(
    (errors) => !errors.some((error) => error.keyword === "type" && error.instancePath === instancePath),
  );
  return fitting.toSorted((a, b) => misfit(a) - misfit(b))[0];
}

/** A constant that differs says more than anything else: `"type": "boolean"` picks the option's shape. */
function misfit(errors: readonly ErrorObject[]): number {
  return errors.length + (errors.some(({ keyword }) => keyword === "const") ? 100 : 0);
}

import { DormouseError } from "@dormouse/base";
import type { JsonDocument, JsonPath } from "../document.ts";
import { formatValue, type ProblemCollector } from "../problem.ts";
import { type FeatureReference, parseFeatureReference, type ReferenceOptions } from "./reference.ts";

/** What is known of the file that names features. */
export interface CheckOptions extends ReferenceOptions {
  path: string;
}

/** Checks `features` and `overrideFeatureInstallOrder` as far as that can be done without fetching anything. */
export function checkFeatures(document: JsonDocument, problems: ProblemCollector, options: CheckOptions): void {
  const features = document.valueAt(["features"]);
  if (typeof features === "object" && features !== null && !Array.isArray(features)) {
    for (const [identifier, value] of Object.entries(features)) {
      const path = ["features", identifier];
      const reference = checkIdentifier(identifier, path, problems, options);
      if (reference?.kind === "local") checkFolder(reference.path, path, problems, options);
      checkOptions(value, path, problems);
    }
  }
  const order = document.valueAt(["overrideFeatureInstallOrder"]);
  for (const [index, identifier] of (Array.isArray(order) ? order : []).entries()) {
    if (typeof identifier !== "string") continue;
    checkOverride(identifier, ["overrideFeatureInstallOrder", index], problems, options);
  }
}

function checkIdentifier(
  identifier: string,
  path: JsonPath,
  problems: ProblemCollector,
  options: CheckOptions,
): FeatureReference | undefined {
  try {
    return parseFeatureReference(identifier, options);
  } catch (error) {
    const { message, details } = DormouseError.from(error);
    problems.add(path, String(details.problem ?? message), {
      // A short form is right wherever a default namespace is known; here it only cannot be told what it means.
      severity: details.short === true ? "warning" : "error",
      atKey: typeof path.at(-1) === "string",
    });
    return undefined;
  }
}

/** A local feature must lie below the repository's `.devcontainer` ("Locally referenced Features"). */
function checkFolder(folder: string, path: JsonPath, problems: ProblemCollector, options: CheckOptions): void {
  const parts = options.path.split(/[\\/]/).slice(0, -1);
  for (const part of folder.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  const below = parts.indexOf(".devcontainer");
  if (below < 0 || below === parts.length - 1) {
    problems.add(path, `lies in ${parts.join("/")}: a local feature must lie in a folder below .devcontainer`, {
      severity: "warning",
      atKey: true,
    });
  }
}

function checkOptions(value: unknown, path: JsonPath, problems: ProblemCollector): void {
  if (typeof value === "string") return;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    problems.add(path, `is ${formatValue(value)}: must be an object of options, or a version as a string`);
    return;
  }
  for (const [name, option] of Object.entries(value)) {
    if (typeof option === "string" || typeof option === "boolean") continue;
    problems.add([...path, name], `is ${formatValue(option)}: must be a string, true or false`);
  }
}

function checkOverride(identifier: string, path: JsonPath, problems: ProblemCollector, options: CheckOptions): void {
  const reference = checkIdentifier(identifier, path, problems, options);
  if (reference?.kind !== "registry") return;
  if (identifier.toLowerCase() !== reference.name && /[:@][^/]*$/.test(identifier)) {
    problems.add(path, `is ${JSON.stringify(identifier)}: must be without a version`, { severity: "warning" });
  }
}

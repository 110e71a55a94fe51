import type { MetadataEntry } from "./config.ts";
import { checkCustomizations } from "./customizations.ts";
import { readDocument } from "./document.ts";
import { type Problem, ProblemCollector } from "./problem.ts";
import { validateDocument } from "./schema/explain.ts";
import { metadataEntryValidator } from "./schema/validators.ts";
import { oldestForm } from "./vscode.ts";

/** The label that holds an image's metadata ("Image Metadata"). */
export const imageMetadataLabel = "devcontainer.metadata";

/**
 * Reads the label's text: a list of entries, or one entry alone. Without `entries` when there are errors; problems name
 * the label as their file. Properties that are unknown are warnings: a later version of the specification may have them.
 */
export function parseImageMetadata(label: string): { entries?: MetadataEntry[]; problems: Problem[] } {
  const { document, problem } = readDocument(label, imageMetadataLabel);
  if (!document) return { problems: [problem] };
  const problems = new ProblemCollector(document);
  const isList = Array.isArray(document.value);
  const entries: unknown[] = Array.isArray(document.value) ? document.value : [document.value];
  for (const index of entries.keys()) {
    const at = isList ? [index] : [];
    const noun = "image metadata";
    validateDocument({ validator: metadataEntryValidator, document, problems, at, noun, misplaced: oldestForm });
    checkCustomizations(document, problems, at);
  }
  if (problems.hasErrors) return { problems: problems.sorted() };
  return { entries: entries as MetadataEntry[], problems: problems.sorted() };
}

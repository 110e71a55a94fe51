import { checkVariables, featurePropertiesWithId } from "../check-variables.ts";
import type { LifecycleCommand, MetadataEntry, MountObject } from "../config.ts";
import { readDocument } from "../document.ts";
import { type Problem, ProblemCollector } from "../problem.ts";
import { validateDocument } from "../schema/explain.ts";
import { featureValidator } from "../schema/validators.ts";

/** An option that a feature takes. */
export type FeatureOption =
  | { type: "boolean"; default: boolean; description?: string }
  | { type: "string"; default: string; enum?: string[]; proposals?: string[]; description?: string };

/** A `devcontainer-feature.json` that is valid ("devcontainer-feature.json properties"). */
export interface FeatureMetadata {
  id: string;
  version: string;
  name?: string;
  description?: string;
  documentationURL?: string;
  licenseURL?: string;
  keywords?: string[];
  options?: Record<string, FeatureOption>;
  containerEnv?: Record<string, string>;
  privileged?: boolean;
  init?: boolean;
  capAdd?: string[];
  securityOpt?: string[];
  entrypoint?: string;
  mounts?: MountObject[];
  customizations?: Record<string, unknown>;
  dependsOn?: Record<string, string | Record<string, string | boolean>>;
  installsAfter?: string[];
  legacyIds?: string[];
  deprecated?: boolean;
  onCreateCommand?: LifecycleCommand;
  updateContentCommand?: LifecycleCommand;
  postCreateCommand?: LifecycleCommand;
  postStartCommand?: LifecycleCommand;
  postAttachCommand?: LifecycleCommand;
}

/** Reads and validates `devcontainer-feature.json`; without `metadata` when there are errors. */
export function parseFeatureMetadata(
  text: string,
  { path }: { path: string },
): { metadata?: FeatureMetadata; problems: Problem[] } {
  const { document, problem } = readDocument(text, path);
  if (!document) return { problems: [problem] };
  const problems = new ProblemCollector(document);
  validateDocument({ validator: featureValidator, document, problems, noun: "devcontainer-feature.json" });
  checkVariables(document, problems, featurePropertiesWithId);
  if (problems.hasErrors) return { problems: problems.sorted() };
  return { metadata: document.value as FeatureMetadata, problems: problems.sorted() };
}

/**
 * What a feature gives to the merge ("Merge logic"): the properties of its metadata that the table lists for features.
 * Its `containerEnv` is none of them: it becomes part of the image while the feature is installed.
 */
export function featureEntry(id: string, metadata: FeatureMetadata): MetadataEntry {
  const { init, privileged, capAdd, securityOpt, entrypoint, mounts, customizations } = metadata;
  const { onCreateCommand, updateContentCommand, postCreateCommand, postStartCommand, postAttachCommand } = metadata;
  const entry = {
    ...{ id, init, privileged, capAdd, securityOpt, entrypoint, mounts, customizations },
    ...{ onCreateCommand, updateContentCommand, postCreateCommand, postStartCommand, postAttachCommand },
  };
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined));
}

import type { JsonDocument, JsonPath } from "./document.ts";
import type { MergedConfig } from "./merge.ts";
import type { ProblemCollector } from "./problem.ts";
import { validateDocument } from "./schema/explain.ts";
import { customizationsValidator } from "./schema/validators.ts";
import { checkVscode } from "./vscode.ts";

/** What starts a prebuild. */
export type PrebuildTrigger = "push" | "pr" | { cron: string };

/** Who may open a forwarded port. */
export type PortVisibility = "private" | "organisation" | "public";

/** The block `customizations.dormouse`; its schema is `docs/devcontainer-customizations.schema.json`. */
export interface DormouseCustomizations {
  prebuild?: { trigger: PrebuildTrigger[]; ttl: string };
  dotfiles?: { repository: string; installCommand?: string; targetPath?: string };
  /** Proposals: whoever owns the egress policy decides. */
  egress?: { allow: string[] };
  /** By port number. */
  ports?: Record<string, { visibility: PortVisibility }>;
}

/** The names under which the block may stand, the later ones going before the earlier. */
const blockNames = ["exai", "dormouse"];

/**
 * Dormouse's block of a merged configuration. Later blocks go before earlier ones and `dormouse` before `exai`, property
 * by property; `ports` are merged port by port. What was merged must have been parsed without errors.
 */
export function customizationsOf({ customizations }: Pick<MergedConfig, "customizations">): DormouseCustomizations {
  const blocks = blockNames.flatMap((name) => customizations[name] ?? []) as DormouseCustomizations[];
  const merged: DormouseCustomizations = Object.assign({}, ...blocks);
  const ports = Object.assign({}, ...blocks.map((block) => block.ports));
  return Object.keys(ports).length > 0 ? { ...merged, ports } : merged;
}

/** Validates our blocks and the editor's under `customizations`, which stands in the object at `at`. */
export function checkCustomizations(document: JsonDocument, problems: ProblemCollector, at: JsonPath = []): void {
  for (const name of blockNames) {
    const path = [...at, "customizations", name];
    if (document.valueAt(path) === undefined) continue;
    validateDocument({
      validator: customizationsValidator,
      document,
      problems,
      at: path,
      noun: `customizations.${name}`,
    });
    checkPortNumbers(document, problems, [...path, "ports"]);
  }
  checkVscode(document, problems, at);
}

function checkPortNumbers(document: JsonDocument, problems: ProblemCollector, path: JsonPath): void {
  const ports = document.valueAt(path);
  if (typeof ports !== "object" || ports === null) return;
  for (const port of Object.keys(ports)) {
    if (/^\d{1,5}$/.test(port) && (Number(port) < 1 || Number(port) > 65_535)) {
      problems.add([...path, port], "must be named by a port from 1 to 65535", { atKey: true });
    }
  }
}

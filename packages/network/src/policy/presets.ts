import { DormouseError } from "@dormouse/base";
import alpine from "./presets/alpine.json" with { type: "json" };
import crates from "./presets/crates.json" with { type: "json" };
import debian from "./presets/debian.json" with { type: "json" };
import github from "./presets/github.json" with { type: "json" };
import gitlab from "./presets/gitlab.json" with { type: "json" };
import go from "./presets/go.json" with { type: "json" };
import maven from "./presets/maven.json" with { type: "json" };
import npm from "./presets/npm.json" with { type: "json" };
import pypi from "./presets/pypi.json" with { type: "json" };
import ubuntu from "./presets/ubuntu.json" with { type: "json" };
import yarn from "./presets/yarn.json" with { type: "json" };

/** A named list of rules for what many projects need, kept as a data file. */
export interface Preset {
  title: string;
  allow: readonly string[];
}

/** By name; `preset:NAME` stands for one in a list of rules. */
export const presets: Readonly<Record<string, Preset>> = {
  npm,
  yarn,
  pypi,
  crates,
  go,
  maven,
  debian,
  ubuntu,
  alpine,
  github,
  gitlab,
};

/** What the mode `default` lets through beside the repository's own host. */
export const defaultPresets: readonly string[] = Object.keys(presets);

const presetPrefix = "preset:";

/**
 * Replaces `preset:NAME` in a list of rules by what it stands for.
 * @throws DormouseError `invalid_argument` naming a preset that does not exist and those that do.
 */
export function expandPresets(rules: readonly string[], field: string): string[] {
  return rules.flatMap((rule) => {
    if (!rule.startsWith(presetPrefix)) return [rule];
    const name = rule.slice(presetPrefix.length);
    const preset = Object.hasOwn(presets, name) ? presets[name] : undefined;
    if (preset) return preset.allow;
    const known = Object.keys(presets).join(", ");
    throw new DormouseError("invalid_argument", `${field} has "${rule}"; there are the presets ${known}`);
  });
}

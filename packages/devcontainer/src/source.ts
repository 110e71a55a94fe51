import type { DevcontainerConfig } from "./config.ts";
import type { JsonPath } from "./document.ts";
import type { SourceKind } from "./schema/validators.ts";

/** What a machine's user land is made from. */
export type ContainerSource =
  /** What every workspace has that names nothing else. */
  | { kind: "base" }
  | { kind: "image"; image: string }
  | { kind: "dockerfile"; dockerfile: string; context: string }
  | { kind: "compose"; files: string[]; service: string };

/** What a valid configuration starts from. Paths are relative to the folder of its file. */
export function sourceOf(config: DevcontainerConfig): ContainerSource {
  if (config.dockerComposeFile !== undefined) {
    return { kind: "compose", files: [config.dockerComposeFile].flat(), service: config.service ?? "" };
  }
  const dockerfile = config.build?.dockerfile ?? config.dockerFile;
  if (dockerfile === undefined)
    return config.image === undefined ? { kind: "base" } : { kind: "image", image: config.image };
  return { kind: "dockerfile", dockerfile, context: config.build?.context ?? config.context ?? "." };
}

/** How a source is written, for messages. */
export const sourceNames: Readonly<Record<SourceKind, string>> = {
  image: "image",
  dockerfile: "build.dockerfile",
  legacyDockerfile: "dockerFile",
  compose: "dockerComposeFile",
};

/** Every way to start that a configuration names, with its place; exactly one of them is right. */
export function findSources(value: object): { kind: SourceKind; path: JsonPath }[] {
  const sources: { kind: SourceKind; path: JsonPath }[] = [];
  const isLegacy = Object.hasOwn(value, "dockerFile");
  if (Object.hasOwn(value, "image")) sources.push({ kind: "image", path: ["image"] });
  if (Object.hasOwn(value, "build") && !(isLegacy && !hasDockerfile(value))) {
    sources.push({ kind: "dockerfile", path: ["build"] });
  }
  if (isLegacy) sources.push({ kind: "legacyDockerfile", path: ["dockerFile"] });
  if (Object.hasOwn(value, "dockerComposeFile")) sources.push({ kind: "compose", path: ["dockerComposeFile"] });
  return sources;
}

function hasDockerfile(value: object): boolean {
  const { build } = value as { build?: unknown };
  return typeof build === "object" && build !== null && Object.hasOwn(build, "dockerfile");
}

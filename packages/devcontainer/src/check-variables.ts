import type { JsonDocument } from "./document.ts";
import type { ProblemCollector } from "./problem.ts";
import { suggest } from "./suggest.ts";
import { findVariables, type VariableUse } from "./variables.ts";

const names = [
  "localEnv",
  "containerEnv",
  "localWorkspaceFolder",
  "localWorkspaceFolderBasename",
  "containerWorkspaceFolder",
  "containerWorkspaceFolderBasename",
  "devcontainerId",
];

/** Where `${devcontainerId}` may stand ("Variables in devcontainer.json"): nowhere that an image is built from. */
export const configPropertiesWithId: readonly string[] = [
  "name",
  "runArgs",
  "initializeCommand",
  "onCreateCommand",
  "updateContentCommand",
  "postCreateCommand",
  "postStartCommand",
  "postAttachCommand",
  "workspaceFolder",
  "workspaceMount",
  "mounts",
  "containerEnv",
  "remoteEnv",
  "containerUser",
  "remoteUser",
  "customizations",
];

/** The same for `devcontainer-feature.json` ("Dev Container ID"). */
export const featurePropertiesWithId: readonly string[] = ["entrypoint", "mounts", "customizations"];

/** Warns of variables where the specification has none, and of names that are nearly a variable's. */
export function checkVariables(
  document: JsonDocument,
  problems: ProblemCollector,
  propertiesWithId: readonly string[],
): void {
  for (const use of findVariables(document.value)) {
    if (problems.isFull("warning")) return;
    const message = messageFor(use, propertiesWithId);
    if (message !== undefined) problems.add(use.path, message, { severity: "warning" });
  }
}

function messageFor({ path, text, name }: VariableUse, propertiesWithId: readonly string[]): string | undefined {
  const top = String(path[0]);
  switch (name) {
    case "containerEnv":
    case "localEnv":
      if (/^\$\{\w+:[^:]+:[^:]*:/.test(text)) return `holds ${text}: its default ends at the first colon`;
      if (!/^\$\{\w+:[^:]/.test(text)) return `holds ${text}: a variable's name must follow, as in \${${name}:HOME}`;
      if (name === "localEnv" || top === "remoteEnv") return undefined;
      return `holds ${text}: containerEnv may stand in remoteEnv only, since nothing else is read once the machine runs`;
    case "devcontainerId":
      if (propertiesWithId.includes(top)) return undefined;
      return `holds ${text}: it may not stand in ${top}, since an image must not depend on who uses it`;
    default: {
      // Shells have variables of the same form: only what is nearly one of these is worth a word.
      const near = names.includes(name) ? undefined : suggest(name, names);
      return near === undefined ? undefined : `holds ${text}, which is left as it is; did you mean \${${near}}?`;
    }
  }
}

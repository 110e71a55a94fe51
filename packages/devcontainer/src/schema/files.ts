import { fileURLToPath } from "node:url";

const names = ["devcontainer.base", "devcontainer-feature", "compose"];

/** Paths of the published schemas of definitions and Compose files, for tools that complete and check them. */
export const schemaFiles: readonly string[] = names.map((name) =>
  fileURLToPath(new URL(`./${name}.schema.json`, import.meta.url)),
);

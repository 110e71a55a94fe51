import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";

/** What {@link completeSettings} works with. */
export interface SettingsOptions {
  /** The part of the settings that a server asks for. */
  section: string;
  value: Record<string, unknown> | null;
  channel: Channel;
  /** The workspace's folder, as the editor names it. */
  folder: string;
  /** Where the machine has JSON schemas. */
  schemaFolder: string;
}

/** Schemas for YAML files that are found in many repositories, by the file's name. */
const yamlSchemas: Readonly<Record<string, readonly string[]>> = {
  "compose.schema.json": [
    ...["compose", "docker-compose"].flatMap((name) => [
      `${name}.yml`,
      `${name}.yaml`,
      `${name}.*.yml`,
      `${name}.*.yaml`,
    ]),
  ],
  "github-workflow.schema.json": [".github/workflows/*.yml", ".github/workflows/*.yaml"],
  "github-action.schema.json": ["action.yml", "action.yaml"],
  "dependabot.schema.json": [".github/dependabot.yml", ".github/dependabot.yaml"],
};

/** Adds to the user's settings what a server would not know by itself; what the user has set stays. */
export async function completeSettings(options: SettingsOptions): Promise<Record<string, unknown> | null> {
  const { section, schemaFolder } = options;
  const value = options.value ?? {};
  switch (section) {
    case "python": {
      const python = value.pythonPath || value.defaultInterpreterPath || (await interpreter(options));
      return python === undefined ? value : { ...value, pythonPath: python };
    }
    case "yaml": {
      const known = Object.entries(yamlSchemas).map(([name, files]) => [`file://${schemaFolder}/${name}`, files]);
      return {
        hover: true,
        completion: true,
        validate: true,
        format: { enable: true },
        ...value,
        // A catalogue of the Internet's.
        schemaStore: { enable: false, ...(value.schemaStore as object | undefined) },
        schemas: { ...Object.fromEntries(known), ...(value.schemas as object | undefined) },
      };
    }
    case "bashIde":
      return { enableSourceErrorDiagnostics: true, ...value };
    default:
      return options.value;
  }
}

/** The project's own Python, where it has one. */
async function interpreter({ channel, folder }: SettingsOptions): Promise<string | undefined> {
  for (const name of [".venv", "venv"]) {
    const path = `${toGuestPath(folder)}/${name}/bin/python`;
    if ((await channel.guest.files.exists({ path })).exists) return path;
  }
  return undefined;
}

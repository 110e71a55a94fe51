import type { LanguageServer } from "@dormouse/contract";

/** A server as the page knows it. */
export interface ServerDescription {
  /** Names it in the status bar, the log and the setting. */
  name: string;
  title: string;
  /** What the machine is asked for. */
  server: LanguageServer;
  /** Ids of the editor's languages. */
  languages: readonly string[];
  /** Settings that it is told of whenever they change. */
  sections: readonly string[];
}

const own = (
  name: Extract<LanguageServer, { name: unknown }>["name"],
  title: string,
  languages: readonly string[],
  sections: readonly string[],
): ServerDescription => ({ name, title, server: { name }, languages, sections });

/** The servers that every machine has. */
export const ownServers: readonly ServerDescription[] = [
  own(
    "typescript",
    "TypeScript",
    ["typescript", "typescriptreact", "javascript", "javascriptreact"],
    ["js/ts", "typescript", "javascript"],
  ),
  own("python", "Python", ["python"], ["python"]),
  own("json", "JSON", ["json", "jsonc"], ["json"]),
  own("css", "CSS", ["css", "scss", "less"], ["css", "scss", "less"]),
  own("html", "HTML", ["html", "handlebars"], ["html", "css"]),
  own("yaml", "YAML", ["yaml", "dockercompose"], ["yaml"]),
  own("bash", "Bash", ["shellscript"], ["bashIde"]),
];

/** What the setting comes to. */
export interface ServerSetting {
  servers: ServerDescription[];
  /** What of it cannot be taken, for people. */
  problems: string[];
}

/**
 * The servers with those of the setting `dormouse.languageServers`: each adds one, or takes the place of the machine's own
 * of that name; `false` switches that off.
 */
export function withSetting(setting: unknown): ServerSetting {
  const servers = new Map(ownServers.map((server) => [server.name, server]));
  const problems: string[] = [];
  if (setting !== undefined && setting !== null && (typeof setting !== "object" || Array.isArray(setting))) {
    return { servers: [...servers.values()], problems: ["an object with the names of servers is expected"] };
  }
  for (const [name, value] of Object.entries((setting ?? {}) as Record<string, unknown>)) {
    if (value === false) {
      if (!servers.delete(name)) problems.push(`${name}: there is no server of this name to switch off`);
      continue;
    }
    const { command, languages } = (value ?? {}) as { command?: unknown; languages?: unknown };
    if (!isWords(command)) problems.push(`${name}.command: a list of words is expected, such as ["gopls"]`);
    else if (!isWords(languages)) problems.push(`${name}.languages: a list of languages is expected, such as ["go"]`);
    else servers.set(name, { name, title: name, server: { command }, languages, sections: [name] });
  }
  return { servers: [...servers.values()], problems };
}

function isWords(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === "string" && word !== "");
}

import type { BaseLanguageClient } from "vscode-languageclient/browser";
import type { Api } from "../vscode/extension.ts";

/** What a file is held against. */
interface Association {
  fileMatch: string[];
  uri: string;
}

/** Schemas that the machine has, for files of these names. */
const ofMachine: Readonly<Record<string, readonly string[]>> = {
  "package.schema.json": ["/package.json"],
  "tsconfig.schema.json": ["/tsconfig.json", "/tsconfig.*.json", "/tsconfig-*.json"],
  "jsconfig.schema.json": ["/jsconfig.json", "/jsconfig.*.json"],
  "devcontainer.base.schema.json": ["/devcontainer.json", "/.devcontainer.json"],
  "devcontainer-feature.schema.json": ["/devcontainer-feature.json"],
};

/** Addresses by which files name them. */
const published = /^https?:\/\/(?:www\.|json\.)?schemastore\.org\/(package|tsconfig|jsconfig)(?:\.json)?$/;

/**
 * What VS Code's own JSON extension does beside speaking the protocol: tells the server which schema is for which file, and
 * hands out those that the editor itself has, such as the one of its settings.
 */
export function extendJson(client: BaseLanguageClient, api: Api, schemaFolder: () => string): void {
  client.onRequest("vscode/content", async (address: string) => {
    const local = published.exec(address)?.[1];
    if (local) return readText(api, api.Uri.file(`${schemaFolder()}/${local}.schema.json`));
    const uri = api.Uri.parse(address);
    if (uri.scheme === "http" || uri.scheme === "https") throw new Error("schemas are not fetched from the Internet");
    if (uri.scheme === "vscode") return (await api.workspace.openTextDocument(uri)).getText();
    return readText(api, uri);
  });
  client.onDidChangeState(() => {
    if (client.isRunning()) {
      void client.sendNotification("json/schemaAssociations", associations(api, schemaFolder()));
    }
  });
}

async function readText(api: Api, uri: ReturnType<Api["Uri"]["parse"]>): Promise<string> {
  return new TextDecoder().decode(await api.workspace.fs.readFile(uri));
}

function associations(api: Api, schemaFolder: string): Association[] {
  const found: Association[] = Object.entries(ofMachine).map(([name, files]) => ({
    fileMatch: [...files],
    uri: `file://${schemaFolder}/${name}`,
  }));
  const taken = new Set(Object.values(ofMachine).flat());
  for (const { packageJSON, extensionUri } of api.extensions.all) {
    for (const { fileMatch, url } of validationsOf(packageJSON)) {
      // From the Internet there is nothing.
      if (/^https?:/.test(url)) continue;
      const files = [fileMatch].flat().map(absolute);
      if (files.some((file) => taken.has(file))) continue;
      const uri = url.startsWith("./") ? api.Uri.joinPath(extensionUri, url).toString() : url;
      found.push({ fileMatch: files, uri });
    }
  }
  return found;
}

function validationsOf(manifest: unknown): { fileMatch: string | string[]; url: string }[] {
  const { contributes } = (manifest ?? {}) as { contributes?: { jsonValidation?: unknown } };
  return Array.isArray(contributes?.jsonValidation) ? contributes.jsonValidation : [];
}

/** As VS Code reads the names of files in `jsonValidation`. */
function absolute(file: string): string {
  const places = { APP_SETTINGS_HOME: "/User", MACHINE_SETTINGS_HOME: "/Machine", APP_WORKSPACES_HOME: "/Workspaces" };
  if (file.startsWith("%")) return file.replace(/%(\w+)%/, (_, name: keyof typeof places) => places[name] ?? "");
  return /^(\w+:\/\/|\/|!)/.test(file) ? file : `/${file}`;
}

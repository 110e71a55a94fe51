import { DormouseError } from "@dormouse/base";
import { extensionIdentifier, limits } from "@dormouse/contract";
import { z } from "zod";
import { readText, type Vsix } from "./vsix.ts";

/** What an extension says of itself. */
export interface ExtensionManifest {
  /** `publisher.name` as it writes it. */
  identifier: string;
  version: string;
  /** The whole `package.json`. */
  manifest: Record<string, unknown>;
  /** `package.nls.json`, if it has one. */
  translations: Record<string, unknown> | null;
}

/** The editor's own extensions have these; what took their place would be believed more than others are. */
const ownPublishers = new Set(["vscode", "dormouse"]);

const object = z.record(z.string(), z.unknown());
const version = z
  .string()
  .max(100)
  .regex(/^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/);

/**
 * Reads what a package says of its extension, and whether it can run here: a browser runs what has a `browser` entry, and
 * takes themes, keys, snippets and languages from what has no program at all.
 * @throws DormouseError `invalid_argument` for a `package.json` that is missing or wrong, `failed_precondition` for an
 *   extension that needs Node.js.
 */
export async function readManifest(vsix: Vsix): Promise<ExtensionManifest> {
  const manifest = await readObject(vsix, "package.json");
  if (!manifest) throw wrong("it has no extension/package.json");
  const identifier = `${text(manifest, "publisher")}.${text(manifest, "name")}`;
  if (!extensionIdentifier.safeParse(identifier).success) {
    throw wrong(`publisher and name are ${JSON.stringify(identifier)}, and must be letters, digits and -`);
  }
  const given = version.safeParse(manifest.version);
  if (!given.success)
    throw wrong(`version is ${JSON.stringify(manifest.version) ?? "missing"}, and must be as "1.2.3"`);
  if (ownPublishers.has(identifier.split(".")[0]?.toLowerCase() ?? "")) {
    throw wrong(`publisher is ${JSON.stringify(manifest.publisher)}, which is the editor's own`);
  }
  if (manifest.main !== undefined && manifest.browser === undefined) {
    throw new DormouseError(
      "failed_precondition",
      `${identifier} cannot run in a browser: its program needs Node.js ("main" in its package.json), and it has none for browsers ("browser")`,
    );
  }
  const translations = (await readObject(vsix, "package.nls.json")) ?? null;
  return { identifier, version: given.data, manifest, translations };
}

async function readObject(vsix: Vsix, name: string): Promise<Record<string, unknown> | undefined> {
  const content = await readText(vsix, name, limits.extensionManifestBytes);
  if (content === undefined) return undefined;
  try {
    return object.parse(JSON.parse(content.replace(/^\uFEFF/, "")));
  } catch (cause) {
    throw wrong(`its ${name} is no JSON object`, cause);
  }
}

function text(manifest: Record<string, unknown>, field: string): string {
  const value = manifest[field];
  if (typeof value !== "string" || value === "") {
    throw wrong(
      `${field} in its package.json is ${JSON.stringify(value)?.slice(0, 100) ?? "missing"}, and must be a text`,
    );
  }
  return value;
}

function wrong(what: string, cause?: unknown): DormouseError {
  return new DormouseError("invalid_argument", `this is no extension that can be installed: ${what}`, { cause });
}

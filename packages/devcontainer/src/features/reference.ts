import { DormouseError } from "@dormouse/base";

/** A feature in a registry: `registry.example/team/features/node:1` ("Referencing a feature"). */
export interface RegistryFeature {
  kind: "registry";
  /** In lower case and complete, with tag or digest. */
  text: string;
  /** As it was given, in lower case: what a lock file has it under. */
  written: string;
  /** Registry, namespace and id, without version: what `installsAfter` and `overrideFeatureInstallOrder` name. */
  name: string;
  registry: string;
  namespace: string;
  id: string;
  /** `latest` when none is given; absent with a digest. */
  tag?: string;
  /** `sha256:` and 64 hexadecimal digits. */
  digest?: string;
}

/** A feature behind an HTTPS address of a tarball. */
export interface TarballFeature {
  kind: "tarball";
  text: string;
  name: string;
  url: string;
}

/** A feature in a folder beside the `devcontainer.json` that names it ("Locally referenced Features"). */
export interface LocalFeature {
  kind: "local";
  text: string;
  name: string;
  /** Relative to the folder of `devcontainer.json`, beginning with `./` or `../`. */
  path: string;
}

/** What a feature's identifier leads to. */
export type FeatureReference = RegistryFeature | TarballFeature | LocalFeature;

/** How short forms of identifiers are read. */
export interface ReferenceOptions {
  /** Registry and namespace that `git` and `node:1` are looked for in, such as `registry.example/team/features`. */
  defaultNamespace?: string;
}

const idPattern = /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*$/;
const tagPattern = /^[a-z0-9_][a-z0-9_.-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
const registryPattern = /^(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(?::\d{1,5})?$/;

/**
 * Reads a feature's identifier as `features` and `dependsOn` have it. Identifiers are taken in lower case.
 * @throws DormouseError `invalid_argument` saying which form it should have.
 */
export function parseFeatureReference(text: string, options: ReferenceOptions = {}): FeatureReference {
  if (text.startsWith("./") || text.startsWith("../") || text.startsWith("/")) return parseLocal(text);
  if (/^https?:\/\//i.test(text)) return parseTarball(text);
  return parseRegistry(text, options);
}

/** The feature's name with the old ids under which it was published, for soft dependencies. */
export function namesOf(reference: FeatureReference, legacyIds: readonly string[] = []): string[] {
  if (reference.kind !== "registry") return [reference.name];
  const { name, registry, namespace } = reference;
  return [name, ...legacyIds.map((id) => `${registry}/${namespace}/${id.toLowerCase()}`)];
}

function parseLocal(text: string): LocalFeature {
  const parts: string[] = [];
  for (const part of text.split("/").filter((part) => part !== "." && part !== "")) {
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else parts.push(part);
  }
  if (text.startsWith("/") || parts.length === 0 || parts.at(-1) === "..") {
    throw referenceError(text, "must be a folder, relative to the one of devcontainer.json, such as ./tools");
  }
  const path = parts[0] === ".." ? parts.join("/") : `./${parts.join("/")}`;
  return { kind: "local", text: path, name: path, path };
}

function parseTarball(text: string): TarballFeature {
  if (!URL.canParse(text) || !/^https:/i.test(text)) throw referenceError(text, "must be an https address");
  return { kind: "tarball", text, name: text, url: text };
}

function parseRegistry(text: string, { defaultNamespace }: ReferenceOptions): RegistryFeature {
  const lower = text.toLowerCase();
  const slash = lower.lastIndexOf("/");
  const last = lower.slice(slash + 1);
  const [, id = "", separator, version] = /^([^:@]*)(?:([:@])(.*))?$/s.exec(last) ?? [];
  if (!idPattern.test(id))
    throw referenceError(text, `its id is ${JSON.stringify(id)}: letters, digits and . _ - between them`);
  const { registry, namespace } = placeOf(text, slash < 0 ? undefined : lower.slice(0, slash), defaultNamespace);
  const name = `${registry}/${namespace}/${id}`;
  const base = { kind: "registry" as const, written: lower, name, registry, namespace, id };
  if (separator === "@") {
    const digest = version ?? "";
    if (!digestPattern.test(digest))
      throw referenceError(text, "after @ a digest must follow: sha256: and 64 hexadecimal digits");
    return { ...base, text: `${name}@${digest}`, digest };
  }
  const tag = separator === undefined ? "latest" : (version ?? "");
  if (!tagPattern.test(tag))
    throw referenceError(text, 'after : a version must follow, such as ":1", ":1.2.3" or ":latest"');
  return { ...base, text: `${name}:${tag}`, tag };
}

function placeOf(text: string, prefix: string | undefined, defaultNamespace: string | undefined) {
  const place = prefix ?? defaultNamespace?.toLowerCase();
  if (place === undefined) {
    throw referenceError(
      text,
      "is a short form, whose meaning depends on where it is used; in full it is REGISTRY/NAMESPACE/ID[:VERSION]",
      true,
    );
  }
  const [registry = "", ...parts] = place.split("/");
  if (!registryPattern.test(registry) || parts.length === 0 || !parts.every((part) => idPattern.test(part))) {
    throw referenceError(text, "must be REGISTRY/NAMESPACE/ID[:VERSION], an https address or a folder such as ./tools");
  }
  return { registry, namespace: parts.join("/") };
}

function referenceError(text: string, message: string, short = false): DormouseError {
  return new DormouseError("invalid_argument", `feature ${JSON.stringify(text)}: ${message}`, {
    details: { problem: message, short },
  });
}

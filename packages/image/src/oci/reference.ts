import { DormouseError } from "@dormouse/base";

/** What an image reference such as `debian:12` means, spelled out. */
export interface ImageReference {
  /** Host and, where one is given, port of the registry. */
  registry: string;
  /** Registry and repository, e.g. `docker.io/library/debian`. */
  repository: string;
  /** `latest` when neither tag nor digest is given. */
  tag?: string;
  /** `sha256:` and 64 hexadecimal digits; wins over a tag. */
  digest?: string;
}

// The grammar of https://github.com/distribution/reference, which Docker and skopeo follow.
const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const registryPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]+\\])(?::\\d{1,5})?$`);
const partPattern = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;

/** What Docker accepts at most for a repository's name. */
const maxRepositoryLength = 255;

/**
 * Reads an image reference as Docker does: a name without registry lies at `docker.io`,
 * there in `library` when it has one part only, and a digest makes a tag beside it void.
 * @throws DormouseError `invalid_argument` naming the reference and what would be right.
 */
export function parseImageReference(text: string): ImageReference {
  const [, name = "", tag, digest] = /^([^@]*?)(?::([^:/@]*))?(?:@(.*))?$/s.exec(text) ?? [];
  const first = name.split("/", 1)[0] ?? "";
  const hasRegistry = name.includes("/") && (/[.:A-Z]/.test(first) || first === "localhost");
  const registry = hasRegistry ? first : "docker.io";
  const path = hasRegistry ? name.slice(first.length + 1) : name;
  const wrong = (what: string) =>
    new DormouseError("invalid_argument", `image ${JSON.stringify(withoutCredentials(text))}: ${what}`);
  if (digest !== undefined && !digestPattern.test(digest)) {
    throw wrong("after @ a digest must follow: sha256: and 64 hexadecimal digits");
  }
  if (tag !== undefined && !tagPattern.test(tag)) {
    throw wrong("after : a tag must follow: at most 128 letters, digits and . _ - between them");
  }
  if (!registryPattern.test(registry) || !path.split("/").every((part) => partPattern.test(part))) {
    throw wrong(
      "must be [REGISTRY/]REPOSITORY[:TAG][@DIGEST] with the repository in lower case, such as debian:12 or registry.example/team/app:1.2",
    );
  }
  const short = registry === "docker.io" && !path.includes("/");
  const repository = `${registry}/${short ? "library/" : ""}${path}`;
  if (repository.length > maxRepositoryLength) {
    throw wrong(`the name is ${repository.length} characters long, of at most ${maxRepositoryLength}`);
  }
  return { registry, repository, ...(digest === undefined ? { tag: tag ?? "latest" } : { digest }) };
}

/** Whether a host[:port] can only be this machine itself. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** A mistyped reference may have a password in it, which must not end in a log. */
function withoutCredentials(text: string): string {
  return text.replace(/[^/@]*@(?!sha256:)/g, "…@").slice(0, 300);
}

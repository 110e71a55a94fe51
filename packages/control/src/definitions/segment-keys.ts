import { createHash } from "node:crypto";
import { ignoreFiles } from "./build-context.ts";
import type { RepositoryKey } from "./build-store.ts";
import type { DockerfileSource } from "./dockerfile-source.ts";

/** Who finds again what was built of a Dockerfile: what steps fetched and wrote may be nobody else's. */
export type BuildScope = Pick<RepositoryKey, "ownerId" | "organisationId" | "repository">;

/** What a Dockerfile is built with, beside what it is itself. */
export interface BuildInputs {
  scope: BuildScope;
  /** Hash of the template of the machine that builds: its programs are a part of it. */
  builder: string;
  /** The images that it names, and what they are now. */
  images: readonly { name: string; exact: string }[];
}

// Raised when the way an image is built changes and its inputs do not.
const recipe = "3";

/** Under what the image of a Dockerfile is kept. */
export function imageKey(source: Pick<DockerfileSource, "hash">, { images, ...inputs }: BuildInputs): string {
  return hash(
    "image",
    rootOf(inputs),
    source.hash,
    images.map(({ name, exact }) => [name, exact]),
  );
}

/**
 * Under what the machine is kept that has built the first segments of a Dockerfile, for each number of them: a hash of all that
 * went in up to there, and of nothing that comes later. There is none from the first on whose result may differ each time.
 */
export function segmentKeys(
  source: Pick<DockerfileSource, "segments" | "contents" | "options">,
  { images, ...inputs }: BuildInputs,
): string[] {
  const { segments, contents, options } = source;
  const exact = new Map(images.map((image) => [image.name, image.exact]));
  const keys: string[] = [];
  let key = hash("segments", rootOf(inputs), options);
  for (const { text, args, images: names, sources, isRepeatable } of segments) {
    if (!isRepeatable) break;
    const files = sources.length === 0 ? [] : [...sources, ...ignoreFiles];
    key = hash(
      key,
      text,
      Object.entries(args).sort(([a], [b]) => (a < b ? -1 : 1)),
      names.map((name) => [name, exact.get(name)]),
      files.map((file) => [file, contents.get(file)]),
    );
    keys.push(key);
  }
  return keys;
}

function rootOf({ scope: { ownerId, organisationId, repository }, builder }: Omit<BuildInputs, "images">) {
  return [recipe, ownerId, organisationId, repository, builder];
}

function hash(...parts: unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

import { createHmac, timingSafeEqual } from "node:crypto";
import { DormouseError } from "@dormouse/base";
import { z } from "zod";
import { createGalleryFetch, discard, type GalleryAnswer } from "./gallery-fetch.ts";

/**
 * A gallery of extensions as VS Code's own asks one (Open VSX has the same interface). The editor asks this server, and
 * this server the gallery: nobody's browser is seen there, and a gallery that only this server reaches can be used.
 */
export interface Gallery extends AsyncDisposable {
  /**
   * Searches. Addresses of files in the answer are ours, below `assetsUrl`.
   * @throws DormouseError `invalid_argument` for what is no query, `unavailable` when the gallery gives no answer to it.
   */
  query(query: unknown, assetsUrl: string, signal: AbortSignal): Promise<unknown>;
  /**
   * A file that an answer named: an icon, a description.
   * @param path what follows `assetsUrl` in its address, with its query.
   * @throws DormouseError `not_found` for what was not named by an answer, or is not there.
   */
  asset(path: string, signal: AbortSignal): Promise<GalleryAnswer>;
  /**
   * The package of an extension.
   * @throws DormouseError `not_found`, `unavailable`.
   */
  download(identifier: string, version: string | undefined, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

/** The most of an answer, and of a file that it names: pictures and descriptions. */
export const answerBytes = 16 * 1024 * 1024;
const answerTimeoutMs = 30_000;
const downloadTimeoutMs = 300_000;
const pageSize = 100;

/** Of the gallery's interface what is needed of it; the numbers are `FilterType` and `Flag` of VS Code's gallery service. */
const extensionName = 7;
const flags = { versions: 0x1, files: 0x2, properties: 0x10 };
const packageType = "Microsoft.VisualStudio.Services.VSIXPackage";
const preRelease = "Microsoft.VisualStudio.Code.PreRelease";

const criterion = z.object({ filterType: z.number().int(), value: z.string().max(1000).optional() });
const querySchema = z.object({
  filters: z
    .array(
      z.object({
        criteria: z.array(criterion).max(500),
        pageNumber: z.number().int().min(1).optional(),
        pageSize: z
          .number()
          .int()
          .min(1)
          .transform((size) => Math.min(size, pageSize))
          .optional(),
        sortBy: z.number().int().optional(),
        sortOrder: z.number().int().optional(),
      }),
    )
    .min(1)
    .max(10),
  assetTypes: z.array(z.string().max(200)).max(100).optional(),
  flags: z.number().int().optional(),
});

const versionSchema = z.looseObject({
  version: z.string(),
  targetPlatform: z.string().optional(),
  assetUri: z.string().optional(),
  fallbackAssetUri: z.string().optional(),
  files: z.array(z.looseObject({ assetType: z.string(), source: z.string() })).optional(),
  properties: z.array(z.looseObject({ key: z.string(), value: z.unknown() })).optional(),
});
const answerSchema = z.looseObject({
  results: z.array(
    z.looseObject({ extensions: z.array(z.looseObject({ versions: z.array(versionSchema).optional() })) }),
  ),
});
type Answer = z.infer<typeof answerSchema>;
type Version = z.infer<typeof versionSchema>;

/** The {@link Gallery} at an address, e.g. `https://open-vsx.org/vscode/gallery`. `secret` signs the addresses of files. */
export function createGallery(options: { url: string; secret: string }): Gallery {
  const url = options.url.replace(/\/+$/, "");
  const fetch = createGalleryFetch(url);
  const sign = (target: string) => createHmac("sha256", options.secret).update(target).digest("base64url");

  async function ask(query: z.infer<typeof querySchema>, signal: AbortSignal): Promise<Answer> {
    const answer = await fetch(`${url}/extensionquery`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json;api-version=3.0-preview.1" },
      body: JSON.stringify(query),
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    if (answer.statusCode !== 200) {
      discard(answer);
      throw new DormouseError("unavailable", `the gallery answers with status ${answer.statusCode}`);
    }
    try {
      return answerSchema.parse(JSON.parse(await textOf(answer)));
    } catch (cause) {
      if (cause instanceof DormouseError) throw cause;
      throw new DormouseError("unavailable", "the gallery's answer is none of a gallery of extensions", { cause });
    }
  }

  return {
    async query(query, assetsUrl, signal) {
      const parsed = querySchema.safeParse(query);
      if (!parsed.success) {
        throw new DormouseError("invalid_argument", `the query is none of a gallery: ${z.prettifyError(parsed.error)}`);
      }
      const answer = await ask(parsed.data, signal);
      const ours = (target: string) => `${assetsUrl}/${Buffer.from(target).toString("base64url")}.${sign(target)}`;
      for (const version of versionsOf(answer)) {
        if (version.assetUri !== undefined) version.assetUri = ours(version.assetUri);
        if (version.fallbackAssetUri !== undefined) version.fallbackAssetUri = ours(version.fallbackAssetUri);
        for (const file of version.files ?? []) file.source = ours(file.source);
      }
      return answer;
    },
    async asset(path, signal) {
      const [, coded, signature, below = ""] =
        /^([\w-]+)\.([\w-]+)((?:\/[\w.-]+)?(?:\?[\w.=&-]*)?)$/.exec(path.slice(0, 8192)) ?? [];
      const target = Buffer.from(coded ?? "", "base64url").toString();
      const expected = Buffer.from(sign(target));
      const given = Buffer.from(signature ?? "");
      if (coded === undefined || given.length !== expected.length || !timingSafeEqual(given, expected)) {
        throw new DormouseError("not_found", "no answer of the gallery has named this file");
      }
      const timeout = AbortSignal.timeout(answerTimeoutMs);
      const answer = await fetch(target + below, { signal: AbortSignal.any([signal, timeout]) });
      if (answer.statusCode === 200) return answer;
      discard(answer);
      throw new DormouseError("not_found", `the gallery has no such file (status ${answer.statusCode})`);
    },
    async download(identifier, version, signal) {
      const criteria = [{ filterType: extensionName, value: identifier }];
      const query = {
        filters: [{ criteria, pageNumber: 1, pageSize: 1 }],
        flags: flags.versions | flags.files | flags.properties,
      };
      const versions = versionsOf(await ask(query, signal)).filter(isForBrowsers);
      const wanted = versions.filter((one) => (version === undefined ? !isPreRelease(one) : one.version === version));
      // One that was made for browsers comes before the one for everything.
      const [found] = wanted.sort((one, other) => rank(other) - rank(one));
      const source = found?.files?.find(({ assetType }) => assetType === packageType)?.source;
      if (source === undefined) {
        const what = version === undefined ? identifier : `${identifier} ${version}`;
        throw new DormouseError("not_found", `the gallery has no ${what} for every platform or for browsers`);
      }
      const answer = await fetch(source, { signal: AbortSignal.any([signal, AbortSignal.timeout(downloadTimeoutMs)]) });
      if (answer.statusCode === 200) return answer.body;
      discard(answer);
      throw new DormouseError(
        "unavailable",
        `the gallery does not give ${identifier} out: status ${answer.statusCode}`,
      );
    },
    [Symbol.asyncDispose]: () => fetch[Symbol.asyncDispose](),
  };
}

function versionsOf(answer: Answer): Version[] {
  return answer.results.flatMap(({ extensions }) => extensions.flatMap(({ versions }) => versions ?? []));
}

function isForBrowsers({ targetPlatform }: Version): boolean {
  return [undefined, "undefined", "unknown", "universal", "web"].includes(targetPlatform);
}

function isPreRelease({ properties }: Version): boolean {
  return properties?.some(({ key, value }) => key === preRelease && String(value) === "true") ?? false;
}

function rank({ targetPlatform }: Version): number {
  return targetPlatform === "web" ? 1 : 0;
}

async function textOf({ body }: GalleryAnswer): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length;
    if (bytes > answerBytes) throw new DormouseError("unavailable", "the gallery's answer is too large");
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

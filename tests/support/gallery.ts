import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** An extension that a test's gallery has. */
export interface GalleryExtension {
  publisher: string;
  name: string;
  version: string;
  description: string;
  package: Buffer;
  /** Whether a browser can run it, as the gallery says. */
  isForBrowsers: boolean;
}

/** A gallery of extensions with VS Code's interface, as Open VSX has it: the requests that the editor and its server make. */
export interface TestGallery extends AsyncDisposable {
  url: string;
  /** Headers of everything that was asked. */
  requests: { path: string; headers: Record<string, unknown> }[];
}

interface Query {
  filters: { criteria: { filterType: number; value?: string }[]; pageNumber?: number; pageSize?: number }[];
}

/** `FilterType` of VS Code's gallery service. */
const filter = { id: 4, name: 7, text: 10 };

/** Starts a {@link TestGallery} on a free port. */
export async function startGallery(extensions: readonly GalleryExtension[]): Promise<TestGallery> {
  const requests: TestGallery["requests"] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    requests.push({ path, headers: request.headers });
    const json = (body: unknown) =>
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (path === "/vscode/gallery/extensionquery" && request.method === "POST") {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => json(answer(JSON.parse(Buffer.concat(chunks).toString()) as Query)));
      return;
    }
    const [, name, type] = /^\/vscode\/asset\/([^/]+)\/([^/?]+)/.exec(path) ?? [];
    const found = extensions.find((extension) => identifierOf(extension) === name);
    if (!found) response.writeHead(404).end();
    else if (type === "Microsoft.VisualStudio.Services.VSIXPackage") response.writeHead(200).end(found.package);
    else if (type === "Microsoft.VisualStudio.Services.Content.Details")
      response
        .writeHead(200, { "content-type": "text/markdown" })
        .end(`# ${found.name}\n\nIts description at length.\n`);
    else if (type === "Microsoft.VisualStudio.Code.Manifest") json(manifestOf(found));
    else response.writeHead(404).end();
  });
  const answer = ({ filters }: Query) => {
    const criteria = filters.flatMap((one) => one.criteria);
    const values = (type: number) =>
      criteria.filter(({ filterType }) => filterType === type).map(({ value = "" }) => value.toLowerCase());
    const wanted = extensions.filter((extension) => {
      const identifier = identifierOf(extension);
      if (values(filter.name).length > 0) return values(filter.name).includes(identifier.toLowerCase());
      if (values(filter.id).length > 0) return values(filter.id).includes(uuidOf(extension));
      return values(filter.text).every((text) => text === "" || identifier.includes(text));
    });
    const metadata = [{ metadataType: "ResultCount", metadataItems: [{ name: "TotalCount", count: wanted.length }] }];
    return { results: [{ extensions: wanted.map(describe), pagingToken: null, resultMetadata: metadata }] };
  };
  const describe = (extension: GalleryExtension) => {
    const { publisher, name, version, description, isForBrowsers } = extension;
    const assets = `${origin}/vscode/asset/${identifierOf(extension)}`;
    const types = [
      "Microsoft.VisualStudio.Services.VSIXPackage",
      "Microsoft.VisualStudio.Services.Content.Details",
      "Microsoft.VisualStudio.Code.Manifest",
    ];
    return {
      extensionId: uuidOf(extension),
      extensionName: name,
      displayName: name,
      shortDescription: description,
      publisher: { publisherId: uuidOf(extension), publisherName: publisher, displayName: publisher },
      tags: isForBrowsers ? ["__web_extension"] : [],
      categories: ["Themes"],
      releaseDate: "2026-01-01T00:00:00Z",
      publishedDate: "2026-01-01T00:00:00Z",
      lastUpdated: "2026-01-01T00:00:00Z",
      flags: "",
      statistics: [{ statisticName: "install", value: 12 }],
      versions: [
        {
          version,
          lastUpdated: "2026-01-01T00:00:00Z",
          assetUri: assets,
          fallbackAssetUri: assets,
          files: types.map((assetType) => ({ assetType, source: `${assets}/${assetType}` })),
          properties: [{ key: "Microsoft.VisualStudio.Code.Engine", value: "^1.60.0" }],
        },
      ],
    };
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${origin}/vscode/gallery`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function identifierOf({ publisher, name }: GalleryExtension): string {
  return `${publisher}.${name}`;
}

function uuidOf(extension: GalleryExtension): string {
  return `00000000-0000-4000-8000-${Buffer.from(identifierOf(extension)).toString("hex").padEnd(12, "0").slice(0, 12)}`;
}

function manifestOf({ publisher, name, version }: GalleryExtension) {
  return { publisher, name, version, engines: { vscode: "^1.60.0" }, contributes: {} };
}

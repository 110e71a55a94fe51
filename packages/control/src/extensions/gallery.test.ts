import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createGallery, type Gallery } from "./gallery.ts";
import { isPublic } from "./gallery-fetch.ts";

const resources = disposer();
const never = new AbortController().signal;
let server: Server;
let origin: string;
let gallery: Gallery;
/** What the gallery says of one extension. */
let versions: unknown[];
const seen: { url: string | undefined; headers: Record<string, unknown>; body: string }[] = [];

beforeAll(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    seen.push({ url: request.url, headers: request.headers, body });
    if (request.url === "/gallery/extensionquery") {
      response.end(JSON.stringify({ results: [{ extensions: [{ extensionName: "x", versions }] }], more: 1 }));
    } else if (request.url === "/moved") response.writeHead(302, { location: "/files/icon.png" }).end();
    else if (request.url === "/inside") response.writeHead(302, { location: "https://169.254.169.254/" }).end();
    else if (request.url === "/round") response.writeHead(302, { location: "/round" }).end();
    else if (request.url?.startsWith("/files/")) response.end(`content of ${request.url}`);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  gallery = createGallery({ url: `${origin}/gallery/`, secret: "a secret of tests" });
  resources.add(async () => gallery[Symbol.asyncDispose]());
});
afterAll(async () => {
  await resources[Symbol.asyncDispose]();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  seen.length = 0;
});

const query = { filters: [{ criteria: [{ filterType: 10, value: "dusk" }], pageSize: 5000 }], flags: 1, token: "mine" };
const packageOf = (path: string) => ({
  assetType: "Microsoft.VisualStudio.Services.VSIXPackage",
  source: origin + path,
});
const assetOf = async (source: string) => {
  versions = [{ version: "1.0.0", files: [{ assetType: "icon", source }] }];
  const answer = (await gallery.query(query, "/assets", never)) as {
    results: { extensions: { versions: { files: { source: string }[] }[] }[] }[];
  };
  return String(answer.results[0]?.extensions[0]?.versions[0]?.files[0]?.source).slice("/assets/".length);
};
const text = async (path: string) => (await gallery.asset(path, never)).body.text();

test("a query goes on with what belongs to one alone, and files in its answer are asked for here", async () => {
  versions = [
    {
      version: "1.0.0",
      assetUri: `${origin}/files`,
      fallbackAssetUri: `${origin}/files`,
      files: [packageOf("/files/x")],
    },
  ];
  const answer = JSON.stringify(await gallery.query(query, "http://here/assets", never));
  expect(answer).not.toContain(origin);
  expect(answer).toContain('"more":1');
  const [{ headers, body } = { headers: {}, body: "" }] = seen;
  expect(JSON.parse(body)).toEqual({ filters: [{ ...query.filters[0], pageSize: 100 }], flags: 1 });
  expect(headers).toMatchObject({ "user-agent": "Dormouse" });
  expect(Object.keys(headers)).not.toEqual(expect.arrayContaining(["cookie", "authorization"]));
  const assets = /"assetUri":"http:\/\/here\/assets\/([^"]+)"/.exec(answer)?.[1];
  expect(await text(`${assets}/icon.png?targetPlatform=web`)).toBe("content of /files/icon.png?targetPlatform=web");
});

test("only files that an answer has named are asked for, also by a redirect", async () => {
  expect(await text(await assetOf(`${origin}/files/a`))).toBe("content of /files/a");
  expect(await text(await assetOf(`${origin}/moved`))).toBe("content of /files/icon.png");
  const named = await assetOf(`${origin}/files/a`);
  const other = `${Buffer.from(`${origin}/files/b`).toString("base64url")}.${named.split(".")[1]}`;
  for (const path of [other, named.slice(0, -1), `${named}/../b`, `${named}/x/y`, "x", ""]) {
    await expect(gallery.asset(path, never)).rejects.toThrow("no answer of the gallery has named this file");
  }
  await expect(gallery.asset(await assetOf(`${origin}/none`), never)).rejects.toThrow(
    "the gallery has no such file (status 404)",
  );
  await expect(gallery.asset(await assetOf(`${origin}/round`), never)).rejects.toThrow(/sends from .* on and on/);
});

test.each([
  "https://169.254.169.254/latest/meta-data",
  "https://127.0.0.1:5432/",
  "https://[::1]/",
  "https://localhost/",
  "http://203.0.113.7/",
  "https://user:password@example.com/",
  "file:///etc/passwd",
  "nothing",
])("a file at %s is not asked for", async (source) => {
  const asset = await assetOf(source);
  await expect(gallery.asset(asset, never)).rejects.toThrow(
    /the gallery leads to .*, which is no public server reached by https/,
  );
});

test("nor where a redirect leads into a network", async () => {
  const asset = await assetOf(`${origin}/inside`);
  await expect(gallery.asset(asset, never)).rejects.toThrow("the gallery leads to https://169.254.169.254/, which");
});

test.each([
  ["93.184.215.14", true],
  ["10.0.0.1", false],
  ["169.254.169.254", false],
  ["2606:2800:220:1::1", true],
  ["::1", false],
  ["fd00::1", false],
  ["fe80::1", false],
  ["::ffff:10.0.0.1", false],
  ["2002:a00:1::", false],
  ["x", false],
])("%s is public: %s", (address, expected) => {
  expect(isPublic(address)).toBe(expected);
});

test("a package is that of the version, for browsers where there is one; none for other machines, none before its time", async () => {
  const beta = [{ key: "Microsoft.VisualStudio.Code.PreRelease", value: "true" }];
  versions = [
    { version: "2.1.0", files: [packageOf("/files/beta")], properties: beta },
    { version: "2.0.0", targetPlatform: "linux-x64", files: [packageOf("/files/linux")] },
    { version: "2.0.0", targetPlatform: "universal", files: [packageOf("/files/all")] },
    { version: "2.0.0", targetPlatform: "web", files: [packageOf("/files/web")] },
    { version: "1.0.0", files: [packageOf("/files/old")] },
  ];
  const download = async (version?: string) => {
    let content = "";
    for await (const chunk of await gallery.download("ada.x", version, never)) content += Buffer.from(chunk).toString();
    return content;
  };
  expect(await download()).toBe("content of /files/web");
  expect(await download("1.0.0")).toBe("content of /files/old");
  expect(await download("2.1.0")).toBe("content of /files/beta");
  await expect(download("3.0.0")).rejects.toThrow("the gallery has no ada.x 3.0.0 for every platform or for browsers");
});

test("what is no query and no answer is refused, and a gallery that is away is told", async () => {
  await expect(gallery.query({ filters: [] }, "", never)).rejects.toThrow("the query is none of a gallery");
  versions = [{ version: 1 }];
  await expect(gallery.query(query, "", never)).rejects.toThrow(
    "the gallery's answer is none of a gallery of extensions",
  );
  await using away = createGallery({ url: "http://127.0.0.1:9/gallery", secret: "x" });
  await expect(away.query(query, "", never)).rejects.toThrow("the gallery's server 127.0.0.1:9 does not answer");
});

import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { limits } from "@dormouse/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { invitePerson } from "../testing/people.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";
import { vsixOf, type ZipEntry, zipOf } from "../testing/zip.ts";
import { extensionService } from "./service.ts";
import type { ExtensionStore } from "./store.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
});
afterAll(async () => resources[Symbol.asyncDispose]());

beforeEach(async () => {
  const { body } = await platform.call("GET", "/api/me/extensions");
  for (const { id } of body.extensions as { id: string }[]) await platform.call("DELETE", `/api/me/extensions/${id}`);
});

const send = async (content: Buffer<ArrayBuffer> | Buffer, key = platform.apiKey) => {
  const response = await fetch(`${platform.control.url}/api/me/extensions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: new Uint8Array(content),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> & { message: string } };
};
const read = async (path: string) => {
  const response = await fetch(`${platform.control.url}${path}`);
  return { status: response.status, text: await response.text(), headers: response.headers };
};
const installed = async (call = platform.call) =>
  ((await call("GET", "/api/me/extensions")).body.extensions as { identifier: string; version: string }[]).map(
    ({ identifier, version }) => `${identifier} ${version}`,
  );
const left = async () => (await readdir(join(platform.config.dataDir, "extensions"))).length;
const valid = {
  name: "extension/package.json",
  content: JSON.stringify({ publisher: "ada", name: "x", version: "1.0.0" }),
};
const hostile = (...entries: ZipEntry[]) => zipOf([valid, ...entries]);

test("one is installed from a file, read, replaced by another version, noted about, and removed", async () => {
  const manifest = { name: "Dusk", displayName: "%name%", contributes: { themes: [] } };
  const first = await send(
    vsixOf(manifest, { "themes/dusk.json": "{}", "package.nls.json": '{"name":"Dusk\\u0000"}' }),
  );
  expect(first).toMatchObject({
    status: 200,
    body: { identifier: "ada.Dusk", version: "1.0.0", source: "file", manifest: { displayName: "%name%" } },
  });
  expect(first.body.translations).toEqual({ name: "Dusk\u0000" });
  const url = String(first.body.url);
  const theme = await read(`${url}/themes/dusk.json`);
  expect([theme.status, theme.text]).toEqual([200, "{}"]);
  expect(Object.fromEntries(theme.headers)).toMatchObject({
    "content-type": "application/json; charset=utf-8",
    "access-control-allow-origin": "*",
    "cache-control": "private, max-age=31536000, immutable",
  });
  for (const path of ["themes/none.json", "..%2f..%2fpackage.json", "%00", "themes/"]) {
    expect((await read(`${url}/${path}`)).status).toBe(404);
  }

  const { body: second } = await send(vsixOf({ ...manifest, name: "dusk", version: "1.1.0" }));
  expect(await installed()).toEqual(["ada.dusk 1.1.0"]);
  expect((await read(`${url}/package.json`)).status).toBe(404);
  const at = `/api/me/extensions/${second.id}`;
  const metadata = { pinned: true };
  expect((await platform.call("PUT", at, { body: { metadata } })).body).toMatchObject({ version: "1.1.0", metadata });
  const noted = await platform.call("PUT", at, {
    body: { metadata: { note: "x".repeat(limits.extensionMetadataBytes) } },
  });
  expect(noted).toMatchObject({ status: 429, body: { code: "resource_exhausted" } });
  expect((await platform.call("DELETE", at)).status).toBe(200);
  expect(await installed()).toEqual([]);
  expect((await read(`${second.url}/package.json`)).status).toBe(404);
  expect((await platform.call("DELETE", at)).body).toMatchObject({ code: "not_found" });
  expect(await left()).toBe(0);
});

describe("refused, with nothing left:", () => {
  const tooMany = Array.from({ length: limits.extensionFiles }, (_, n) => ({ name: `extension/${n}` }));
  test.each<[string, () => Buffer, number, RegExp]>([
    ["no zip", () => Buffer.from("#!/bin/sh"), 400, /no extension that can be installed: it is no zip archive/],
    ["an empty file", () => Buffer.alloc(0), 400, /it is no zip archive/],
    ["a damaged one", () => hostile().fill(7, 60, 70), 400, /its package.json cannot be read/],
    ["one without package.json", () => zipOf([{ name: "package.json" }]), 400, /it has no extension\/package.json/],
    [
      "a package.json that is none",
      () => zipOf([{ ...valid, content: "[]" }]),
      400,
      /its package.json is no JSON object/,
    ],
    ["a name that leads out", () => hostile({ name: "extension/../../etc/passwd" }), 400, /invalid relative path/],
    ["an absolute name", () => hostile({ name: "/etc/passwd" }), 400, /absolute path/],
    ["a name of Windows", () => hostile({ name: "extension\\..\\x" }), 400, /invalid characters in fileName/],
    [
      "a name that is not plain",
      () => hostile({ name: "extension/./x" }),
      400,
      /"extension\/\.\/x", which leads elsewhere/,
    ],
    [
      "a link",
      () => hostile({ name: "extension/x", mode: 0o120777, content: "/etc/passwd" }),
      400,
      /"extension\/x" in it is a link/,
    ],
    ["two files of one name", () => hostile(valid), 400, /it holds "extension\/package.json" twice/],
    [
      "an encrypted file",
      () => hostile({ name: "extension/x", isEncrypted: true }),
      400,
      /"extension\/x" in it is encrypted/,
    ],
    ["too many files", () => hostile(...tooMany), 429, /too large: it holds 10001 files, and 10000 is the most/],
    [
      "one file too large",
      () => hostile({ name: "extension/x", claimedBytes: 2 ** 30 }),
      429,
      /"extension\/x" in it has 1073741824 bytes/,
    ],
    [
      "too much unpacked",
      () =>
        hostile(...[1, 2, 3, 4, 5].map((n) => ({ name: `extension/${n}`, claimedBytes: limits.extensionFileBytes }))),
      429,
      /it unpacks to more, and 268435456 bytes is the most/,
    ],
    ["no version", () => vsixOf({ name: "x", version: undefined }), 400, /version is missing/],
    [
      "a version that is none",
      () => vsixOf({ name: "x", version: "../1" }),
      400,
      /version is "\.\.\/1", and must be as "1\.2\.3"/,
    ],
    ["no name", () => vsixOf({}), 400, /name in its package.json is missing/],
    ["a name with a path", () => vsixOf({ name: "../x" }), 400, /publisher and name are "ada\.\.\.\/x"/],
    [
      "the editor's own publisher",
      () => vsixOf({ publisher: "Dormouse", name: "workbench" }),
      400,
      /publisher is "Dormouse", which is the editor's own/,
    ],
    [
      "one that needs Node.js",
      () => vsixOf({ name: "x", main: "./main.js" }),
      409,
      /^ada\.x cannot run in a browser: its program needs Node\.js \("main" in its package\.json\)/,
    ],
  ])("%s", async (_what, content, status, message) => {
    const refused = await send(content());
    expect([refused.body.message, refused.status]).toEqual([expect.stringMatching(message), status]);
    expect(await installed()).toEqual([]);
    expect(await left()).toBe(0);
  });

  test("a package that is too large, also when its size is not said", async () => {
    const { status, body } = await send(Buffer.alloc(limits.extensionBytes + 1));
    expect([status, body.code]).toEqual([429, "resource_exhausted"]);
    const chunk = new Uint8Array(1024 * 1024);
    let sent = 0;
    const response = await fetch(`${platform.control.url}/api/me/extensions`, {
      method: "POST",
      headers: { authorization: `Bearer ${platform.apiKey}` },
      body: new ReadableStream({ pull: (to) => (sent++ < 70 ? to.enqueue(chunk) : to.close()) }),
      duplex: "half",
    } as RequestInit).catch((error: unknown) => String(error));
    // The answer comes while the package is still sent, which not every client takes.
    if (response instanceof Response) expect(response.status).toBe(429);
    await vi.waitFor(async () => expect(await left()).toBe(0));
  });
});

test("a file that is larger than its package says is cut off", async () => {
  const lying = { name: "extension/big.txt", content: "x".repeat(1_000_000), claimedBytes: 10 };
  const { body } = await send(hostile(lying));
  await expect(read(`${body.url}/big.txt`)).rejects.toThrow();
  await platform.call("DELETE", `/api/me/extensions/${body.id}`);
});

test("nobody sees or changes those of another person, and a key of an organisation none", async () => {
  await platform.call("POST", "/api/organisations", { body: { name: "acme" } });
  const bob = await invitePerson(platform, { organisation: "acme", name: "bob" });
  const { body } = await send(vsixOf({ name: "mine" }));
  expect(await installed(bob.call)).toEqual([]);
  const at = `/api/me/extensions/${body.id}`;
  expect(await bob.call("DELETE", at)).toMatchObject({ status: 404, body: { code: "not_found" } });
  expect((await bob.call("PUT", at, { body: { metadata: {} } })).status).toBe(404);
  await send(vsixOf({ name: "mine", version: "2.0.0" }), bob.apiKey);
  expect([await installed(), await installed(bob.call)]).toEqual([["ada.mine 1.0.0"], ["ada.mine 2.0.0"]]);
  // Ids cannot be guessed; what is near one is none.
  const near = `${String(body.url).slice(0, -1)}${String(body.url).endsWith("0") ? "1" : "0"}`;
  for (const url of [near, "/api/extensions/%2e%2e%2f", "/api/extensions/ext-"]) {
    expect((await read(`${url}/package.json`)).status).toBe(404);
  }
  expect((await fetch(`${platform.control.url}/api/me/extensions`)).status).toBe(401);
  const key = await platform.call("POST", "/api/api-keys", { body: { name: "acme", organisation: "acme" } });
  const refused = await send(vsixOf({ name: "mine" }), String(key.body.key));
  expect([refused.status, refused.body.code]).toEqual([403, "permission_denied"]);
});

test("a person has so many, and together so large; what an interrupted installation left is removed", async () => {
  const folder = join(platform.config.dataDir, "quota");
  const rows = Array.from({ length: limits.extensions }, (_, n) => ({
    id: `ext-${n}`,
    identifier: `a.b${n}`,
    bytes: 1,
  }));
  const store = (bytes: number, count: number) =>
    ({
      of: async () => rows.slice(0, count).map((row) => ({ ...row, bytes })),
      ids: async () => new Set(["ext-kept"]),
    }) as unknown as ExtensionStore;
  const open = (bytes: number, count: number) => extensionService({ store: store(bytes, count), folder, log: silent });
  using first = await open(1, limits.extensions);
  for (const name of ["ext-kept.vsix", "ext-lost.vsix", "ext-half.vsix.partial"])
    await writeFile(join(folder, name), "");
  const one = {
    source: "file" as const,
    content: (async function* () {
      yield vsixOf({ name: "more" });
    })(),
  };
  await expect(first.install("user", one)).rejects.toThrow("you have 100 extensions, which is the most: remove one");
  using second = await open(limits.extensionsBytes / 2, 2);
  expect(await readdir(folder)).toEqual(["ext-kept.vsix"]);
  const other = {
    source: "file" as const,
    content: (async function* () {
      yield vsixOf({ name: "more" });
    })(),
  };
  await expect(second.install("user", other)).rejects.toThrow(
    /would take \d+ bytes with this one, and 536870912 is the most/,
  );
});

test("without a gallery its calls say how one is set", async () => {
  expect((await platform.call("GET", "/api/me/extensions")).body.gallery).toBe(false);
  const calls = [
    await platform.call("POST", "/api/me/extensions/from-gallery", { body: { identifier: "ada.x" } }),
    await platform.call("POST", "/api/gallery/extensionquery", { body: {} }),
  ];
  for (const { status, body } of calls) {
    expect([status, body.message]).toEqual([409, expect.stringContaining("--extensions-gallery URL")]);
  }
});

const silent = { debug() {}, info() {}, warn() {}, error() {} } as never;

import { randomBytes } from "node:crypto";
import { access, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import {
  fetchFeature,
  findBuiltImage,
  flattenBuilt,
  importImage,
  pullFlattened,
  pullImage,
  resolveImage,
} from "../index.ts";
import { type ImageFile, readImage } from "../testing/image-contents.ts";
import { type Pushed, pushFeature, pushImage, pushIndex } from "../testing/push.ts";
import { startRegistry, type TestRegistry, writeAuthFile } from "../testing/registry.ts";
import { startProxy } from "../testing/registry-proxy.ts";
import { entryTime, type TarEntry, tarOf } from "../testing/tar.ts";
import { pushMuslImage, pushOddUserImage } from "../testing/test-images.ts";
import { imageArchitecture } from "./manifest.ts";

let registry: TestRegistry;
let cacheDir: string;
let systems: Record<"odd" | "musl", Pushed>;
beforeAll(async () => {
  registry = await startRegistry();
  systems = {
    odd: await pushOddUserImage(registry),
    musl: await pushMuslImage(registry),
  };
});
afterAll(() => registry.stop());
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "dormouse-oci-"));
});
afterEach(() => rm(cacheDir, { recursive: true }));

async function pull(reference: string, limits: Parameters<typeof pullImage>[1] = {}) {
  return pullImage(await resolveImage(reference), { cacheDir, ...limits });
}

async function filesOf(reference: string): Promise<Record<string, ImageFile>> {
  return readImage((await pull(reference)).path);
}

async function failureOf(promise: Promise<unknown>): Promise<DormouseError> {
  const caught = await promise.then(
    () => expect.unreachable("it should have failed"),
    (error: unknown) => error,
  );
  expect(caught).toBeInstanceOf(DormouseError);
  return caught as DormouseError;
}

/** What is in the cache beside locks. */
const artefacts = async () => (await readdir(cacheDir)).filter((name) => !name.endsWith(".lock"));

const file: TarEntry = { path: "file", content: "text" };
const noise = (bytes: number): TarEntry => ({ path: `noise-${bytes}`, content: randomBytes(bytes) });

test("owners, modes, times, extended attributes, links and devices are kept", async () => {
  const { reference } = await pushImage(registry, {
    repository: "metadata",
    layers: [
      [
        { path: "usr/", mode: 0o751, uid: 7, gid: 8 },
        { path: "usr/su", content: "program", mode: 0o4755, xattrs: { "user.note": "kept" } },
        { path: "usr/ping", content: "p", mode: 0o755, xattrs: { "security.capability": capNetRaw } },
        { path: "usr/also-su", type: "Link", link: "usr/su" },
        { path: "usr/away", type: "SymbolicLink", link: "/etc/passwd" },
        { path: "usr/pipe", type: "FIFO" },
        { path: "usr/null", type: "CharacterDevice", device: [1, 3], mode: 0o666 },
        { path: "srv/odd/", uid: 4242, gid: 4242, mode: 0o700 },
        { path: `${"long-".repeat(30)}name`, content: "long" },
      ],
    ],
  });
  const files = await filesOf(reference);
  expect(files.usr).toMatchObject({ type: "d", mode: 0o751, owner: "7:8", modifiedSeconds: entryTime });
  const xattrs = { "user.note": Buffer.from("kept").toString("hex") };
  expect(files["usr/su"]).toMatchObject({ mode: 0o4755, content: "program", modifiedSeconds: entryTime, xattrs });
  expect(files["usr/also-su"]).toMatchObject({ links: 2, content: "program" });
  expect(files["usr/ping"]?.xattrs).toEqual({ "security.capability": capNetRaw.toString("hex") });
  expect(files["usr/away"]).toMatchObject({ type: "l", link: "/etc/passwd" });
  expect(files["usr/pipe"]?.type).toBe("p");
  expect(files["usr/null"]).toMatchObject({ type: "c", mode: 0o666 });
  expect(files["srv/odd"]).toMatchObject({ mode: 0o700, owner: "4242:4242" });
  expect(files[`${"long-".repeat(30)}name`]?.content).toBe("long");
  expect(files.workspaces).toMatchObject({ type: "d", mode: 0o755, owner: "0:0" });
  expect(files.tmp?.mode).toBe(0o1777);
  expect(files["etc/machine-id"]?.content).toBe("");
  expect(files["etc/hosts"]?.content).toContain("127.0.0.1 localhost");
});

/** VFS_CAP_REVISION_2, effective, CAP_NET_RAW permitted. */
const capNetRaw = Buffer.from("0100000200200000000000000000000000000000", "hex");

test.each(["gzip", "zstd", "none"] as const)("layers of %s: what a later one deletes is gone", async (compression) => {
  const { reference } = await pushImage(registry, {
    repository: `whiteouts-${compression}`,
    compression,
    layers: [
      [
        { path: "a/keep", content: "1" },
        { path: "a/gone", content: "2" },
        { path: "first/old", content: "3" },
        { path: "last/old", content: "4" },
        { path: "folder/in/it", content: "5" },
      ],
      [
        { path: "a/.wh.gone" },
        { path: "first/.wh..wh..opq" },
        { path: "first/new", content: "6" },
        { path: "last/new", content: "7" },
        { path: "last/.wh..wh..opq" },
        { path: ".wh.folder" },
      ],
      [{ path: "a/gone/", mode: 0o700 }],
    ],
  });
  const paths = Object.keys(await filesOf(reference)).filter((path) => /^(a|first|last|folder)\b/.test(path));
  expect(paths.sort()).toEqual(["a", "a/gone", "a/keep", "first", "first/new", "last", "last/new"]);
});

test("zstd in several frames, and one blob as two layers", async () => {
  const { zstdCompressSync } = await import("node:zlib");
  const tar = tarOf([file, noise(1000)]);
  const half = Math.floor(tar.length / 2);
  const skippable = Buffer.from("502a4d180400000001020304", "hex");
  const frames = [
    skippable,
    ...[tar.subarray(0, half), tar.subarray(half)].map((part) => zstdCompressSync(part)),
    skippable,
  ];
  const diffId = `sha256:${(await import("node:crypto")).createHash("sha256").update(tar).digest("hex")}`;
  const layer = { gzipped: Buffer.concat(frames), diffId };
  const { reference } = await pushImage(registry, {
    repository: "frames",
    compression: "zstd",
    layers: [layer, layer],
  });
  expect((await filesOf(reference)).file?.content).toBe("text");
});

test("a list: the image for this machine, under the list's digest", async () => {
  const repository = "list";
  const own = await pushImage(registry, { repository, tag: "own", layers: [[file]], config: { Env: ["A=own"] } });
  const other = await pushImage(registry, { repository, tag: "other", layers: [[noise(10)]], architecture: "s390x" });
  const images = [
    { image: other, architecture: "s390x" },
    { image: own, architecture: imageArchitecture() },
  ];
  const list = await pushIndex(registry, { repository, images });
  const resolved = await resolveImage(list.reference);
  expect(resolved).toMatchObject({ reference: list.reference, digest: list.digest, config: { env: { A: "own" } } });
  // Docker lets a tag stand beside a digest, which then decides.
  const pinned = await resolveImage(`${registry.address}/list:whatever@${list.digest}`);
  expect(pinned.digest).toBe(list.digest);
  expect((await readImage((await pullImage(pinned, { cacheDir })).path)).file?.content).toBe("text");

  const foreign = await pushIndex(registry, { repository, tag: "foreign", images: images.slice(0, 1) });
  const error = await failureOf(resolveImage(foreign.reference));
  expect(error.code).toBe("failed_precondition");
  expect(error.message).toBe(
    `${foreign.reference} is not there for linux/${imageArchitecture()}, only for linux/s390x`,
  );
  expect((await failureOf(resolveImage(other.reference))).message).toContain("only for linux/s390x");
});

test("Docker's own media types, and the whole configuration", async () => {
  const { reference, digest } = await pushImage(registry, {
    repository: "team/docker",
    tag: "1.2",
    isDocker: true,
    layers: [[file]],
    config: {
      User: "odd:users",
      Env: ["PATH=/bin", "EMPTY=", "EQUALS=a=b"],
      WorkingDir: "/srv",
      Entrypoint: ["/init"],
      Cmd: ["sh", "-l"],
      Labels: { "devcontainer.metadata": "[]" },
    },
  });
  const resolved = await resolveImage(reference);
  expect(resolved).toEqual({
    reference,
    digest,
    config: {
      user: "odd:users",
      env: { PATH: "/bin", EMPTY: "", EQUALS: "a=b" },
      workingDir: "/srv",
      entrypoint: ["/init"],
      cmd: ["sh", "-l"],
      labels: { "devcontainer.metadata": "[]" },
    },
  });
  const events: string[] = [];
  const progress = (event: { state: string }) => void events.push(event.state);
  const pulled = await pullImage(resolved, { cacheDir, progress });
  expect(pulled.config).toEqual(resolved.config);
  expect([events[0], events.at(-1)]).toEqual(["started", "done"]);
  // The second one needs neither registry nor umoci.
  expect(await pullImage(resolved, { cacheDir, progress: () => expect.unreachable() })).toEqual(pulled);
});

test("what is not there, not reachable or no image says so", async () => {
  await pushImage(registry, { repository: "known", layers: [[file]] });
  const feature = await pushFeature(registry, { id: "no-image", version: "1.0.0", files: {} });
  const address = registry.address;
  const cases = [
    [`${address}/known:9`, "not_found", `there is no image ${address}/known:9`],
    [`${address}/unknown`, "not_found", `there is no image ${address}/unknown:latest`],
    ["127.0.0.1:1/known", "unavailable", "127.0.0.1:1 cannot be reached"],
    ["registry.invalid/known", "unavailable", "registry.invalid cannot be reached"],
    [feature.reference, "failed_precondition", "is no image of a container"],
    [`${address}/Known`, "invalid_argument", `image "${address}/Known": must be [REGISTRY/]REPOSITORY`],
  ] as const;
  for (const [reference, code, message] of cases) {
    const error = await failureOf(resolveImage(reference));
    expect(error.code, reference).toBe(code);
    expect(error.message).toContain(message);
  }
});

test("a registry with credentials: none, wrong ones, the right ones", async () => {
  const user = { name: "tester", password: `secret-${randomBytes(6).toString("hex")}` };
  await using closed = await startRegistry({ auth: user });
  const { reference } = await pushImage(closed, { repository: "private", layers: [[file]] });
  const authFile = join(cacheDir, "auth.json");
  await writeFile(authFile, "{}");
  const without = await failureOf(resolveImage(reference, { authFile }));
  expect(without.code).toBe("unauthenticated");
  expect(without.message).toContain(`${closed.address} does not give`);
  const wrong = { name: "tester", password: "wrong-password" };
  await writeAuthFile(authFile, closed.address, wrong);
  const refused = await failureOf(resolveImage(reference, { authFile }));
  expect(refused.code).toBe("unauthenticated");
  const said = JSON.stringify([refused, (refused.cause as Error).message]);
  expect(said).not.toContain("wrong-password");
  await writeAuthFile(authFile, closed.address, user);
  const resolved = await resolveImage(reference, { authFile });
  const { path } = await pullImage(resolved, { authFile, cacheDir });
  expect((await readImage(path)).file?.content).toBe("text");
});

test("a blob that was changed in the registry's storage is refused, and nothing stays", async () => {
  const { reference, digest } = await pushImage(registry, { repository: "changed", layers: [[noise(50_000)]] });
  const resolved = await resolveImage(reference);
  const data = (hex: string) => join(registry.storage, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
  const manifest = JSON.parse(await readFile(data(digest.slice(7)), "utf8"));
  const layer = data(manifest.layers[0].digest.slice(7));
  const bytes = await readFile(layer);
  bytes.writeUInt8(bytes.readUInt8(40_000) ^ 1, 40_000);
  await writeFile(layer, bytes);
  const error = await failureOf(pullImage(resolved, { cacheDir }));
  expect(error.code).toBe("data_loss");
  expect(error.message).toContain("is not what the digest says");
  expect(await artefacts()).toEqual([]);
});

test("a layer that is not what the configuration says is refused, in every compression", async () => {
  for (const compression of ["gzip", "zstd", "none"] as const) {
    const diffIds = [`sha256:${"0".repeat(64)}`];
    const image = { repository: `wrong-${compression}`, compression, diffIds, layers: [[file]] };
    const error = await failureOf(pull((await pushImage(registry, image)).reference));
    expect(["data_loss", "failed_precondition"], error.message).toContain(error.code);
  }
  expect(await artefacts()).toEqual([]);
});

/** Two layers, of which the small one is whole long before the large one. */
async function pushSlowImage(repository: string) {
  const pushed = await pushImage(registry, { repository, layers: [[file], [noise(6_000_000)]], compression: "none" });
  const hex = pushed.digest.slice(7);
  const manifest = join(registry.storage, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
  const [small, large] = JSON.parse(await readFile(manifest, "utf8")).layers.map(
    (layer: { digest: string }) => layer.digest,
  );
  return { ...pushed, small: small as string, large: large as string };
}

async function whenFetched(digest: string): Promise<void> {
  await vi.waitFor(async () => {
    const [folder = ""] = (await artefacts()).filter((name) => name.endsWith(".building"));
    await access(join(cacheDir, folder, "work/layout/blobs/sha256", digest.slice(7)));
  }, 10_000);
}

const count = (text: string, part: string) => text.split(part).length - 1;

test("a registry that is killed in the middle of a layer: the pull goes on, and whole layers are kept", async () => {
  const image = await pushSlowImage("killed");
  await using proxy = await startProxy(registry, { stopAfterBytes: 3_000_000 });
  const resolved = await resolveImage(`${proxy.address}/killed`);
  const pulling = pullImage(resolved, { cacheDir });
  await proxy.stopped;
  await whenFetched(image.small);
  await registry.kill();
  proxy.cut();
  await registry.start();
  expect((await readImage((await pulling).path)).file?.content).toBe("text");
  expect(count(proxy.asked(), `GET /v2/killed/blobs/${image.large}`)).toBe(2);
  expect(count(proxy.asked(), `GET /v2/killed/blobs/${image.small}`)).toBe(1);
});

test("a registry that goes silent in the middle of a layer is asked again", async () => {
  await pushSlowImage("silent");
  await using proxy = await startProxy(registry, { stopAfterBytes: 3_000_000 });
  const said: string[] = [];
  const progress = (event: { message: string }) => void said.push(event.message);
  const pulled = await pullImage(await resolveImage(`${proxy.address}/silent`), { cacheDir, stallMs: 1500, progress });
  expect((await readImage(pulled.path)).file?.content).toBe("text");
  expect(said).toContain(`The registry failed; fetching the rest of ${proxy.address}/silent again`);
  expect(said.some((line) => /: [\d.]+ \w+ of 5\.7 MiB$/.test(line))).toBe(true);
});

test("cancelled in the middle nothing stays, and others were not held up", async () => {
  await pushSlowImage("cancelled");
  const other = await pushImage(registry, { repository: "other", layers: [[file]] });
  await using proxy = await startProxy(registry, { stopAfterBytes: 3_000_000 });
  const stop = new AbortController();
  const pulling = failureOf(pull(`${proxy.address}/cancelled`, { signal: stop.signal }));
  await proxy.stopped;
  const { path } = await pull(other.reference);
  stop.abort();
  expect((await pulling).code).toBe("cancelled");
  expect((await artefacts()).map((name) => join(cacheDir, name, "image.erofs"))).toEqual([path]);
});

test("limits: of size as the manifest has it and unpacked, of time", async () => {
  const bomb = { path: "zeros", content: Buffer.alloc(20_000_000) };
  const cases = [
    [[[noise(2_000_000)]], { maxBytes: 1_000_000 }, "gzip", "is larger than 977 KiB"],
    [[[bomb]], { maxBytes: 8_000_000 }, "gzip", "is larger than 7.6 MiB"],
    [[[bomb]], { maxBytes: 8_000_000 }, "zstd", "is larger than 7.6 MiB"],
  ] as const;
  for (const [index, [layers, limits, compression, message]] of cases.entries()) {
    const { reference } = await pushImage(registry, { repository: `limit-${index}`, layers, compression });
    const error = await failureOf(pull(reference, limits));
    expect(error.code, error.message).toBe("resource_exhausted");
    expect(error.message).toContain(message);
  }
  const { reference } = await pushImage(registry, { repository: "late", layers: [[file]] });
  const late = await failureOf(pull(reference, { timeoutMs: 50 }));
  expect(late.code).toBe("deadline_exceeded");
  expect(late.message).toBe(`pulling ${reference} took longer than 50 ms`);
  expect(await artefacts()).toEqual([]);
});

test("whole systems: musl, and one with a user of its own", async () => {
  const odd = await pull(systems.odd.reference);
  expect(odd.config).toMatchObject({ user: "odd", workingDir: "/srv/odd" });
  const files = await readImage(odd.path);
  expect(files["srv/odd"]).toMatchObject({ type: "d", owner: "4242:4242" });
  expect(files["etc/passwd"]?.content).toMatch(/^root:.*^odd:x:4242:/ms);
  const musl = await pull(systems.musl.reference);
  expect(JSON.parse(musl.config.labels["devcontainer.metadata"] ?? "")).toHaveLength(2);
  expect((await readImage(musl.path))["bin/sh"]).toMatchObject({ type: "l", link: "/bin/busybox" });
});

const install = { "install.sh": "#!/bin/sh\necho installed\n", "lib/common.sh": "true\n", "notes.txt": "text" };

test("a feature under each of its tags, and by digest without the registry", async () => {
  const pushed = await pushFeature(registry, {
    id: "hello",
    namespace: "team/features",
    version: "1.2.3",
    files: install,
  });
  const place = { kind: "registry", registry: registry.address, namespace: "team/features", id: "hello" } as const;
  const known = await fetchFeature({ ...place, digest: pushed.digest }, { cacheDir });
  expect(known.digest).toBe(pushed.digest);
  expect(known.files.map(({ path, mode }) => [path, mode])).toEqual([
    ["devcontainer-feature.json", 0o644],
    ["install.sh", 0o755],
    ["lib/common.sh", 0o755],
    ["notes.txt", 0o644],
  ]);
  expect(known.files[1]?.content.toString()).toBe(install["install.sh"]);
  for (const tag of [undefined, "latest", "1", "1.2", "1.2.3"]) {
    expect((await fetchFeature({ ...place, tag }, { cacheDir })).digest).toBe(pushed.digest);
  }
  expect(await artefacts()).toHaveLength(1);
  const unreachable = { ...place, registry: "127.0.0.1:1" };
  expect(await fetchFeature({ ...unreachable, digest: pushed.digest }, { cacheDir })).toEqual(known);
  expect((await failureOf(fetchFeature({ ...unreachable, tag: "1" }, { cacheDir }))).code).toBe("unavailable");
  expect((await failureOf(fetchFeature({ ...place, tag: "2" }, { cacheDir }))).code).toBe("not_found");
  const newer = await pushFeature(registry, {
    id: "hello",
    namespace: "team/features",
    version: "1.3.0",
    files: install,
  });
  expect((await fetchFeature({ ...place, tag: "1" }, { cacheDir })).digest).toBe(newer.digest);
});

test("features that are compressed, hostile, too large, or none", async () => {
  const place = { kind: "registry", registry: registry.address, namespace: "features", tag: "1.0.0" } as const;
  const feature = { version: "1.0.0", files: install };
  await pushFeature(registry, { id: "gzipped", isGzipped: true, ...feature });
  expect((await fetchFeature({ ...place, id: "gzipped" }, { cacheDir })).files).toHaveLength(4);
  const archive = tarOf([{ path: "install.sh" }, { path: "../../escape", content: "out" }]);
  await pushFeature(registry, { id: "hostile", archive, ...feature });
  const hostile = await failureOf(fetchFeature({ ...place, id: "hostile" }, { cacheDir }));
  expect(hostile.code).toBe("invalid_argument");
  expect(hostile.message).toContain('entry "../../escape" of its archive is refused: its path has .. in it');
  await pushFeature(registry, { id: "large", archive: tarOf([noise(17 * 1024 ** 2)]), ...feature });
  const large = await failureOf(fetchFeature({ ...place, id: "large" }, { cacheDir }));
  expect(large.code).toBe("resource_exhausted");
  expect(large.message).toContain("more than 16 MiB");
  await pushImage(registry, { repository: "features/image", tag: "1.0.0", layers: [[file]] });
  const image = await failureOf(fetchFeature({ ...place, id: "image" }, { cacheDir }));
  expect(image.code).toBe("failed_precondition");
  expect(image.message).toContain("is no devcontainer feature");
});

test("a feature behind an address, with redirects and without", async () => {
  const archive = gzipSync(tarOf([{ path: "install.sh", content: "true\n", mode: 0o755 }]));
  const server = createServer((request, response) => {
    if (request.url?.startsWith("/feature.tgz")) return response.end(archive);
    if (request.url === "/moved") return response.writeHead(302, { location: "/feature.tgz" }).end();
    if (request.url === "/round") return response.writeHead(302, { location: "/round" }).end();
    if (request.url === "/away") return response.writeHead(302, { location: "http://registry.invalid/" }).end();
    if (request.url === "/large") return response.end(Buffer.alloc(17 * 1024 ** 2));
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  try {
    const found = await fetchFeature({ kind: "tarball", url: `${base}/feature.tgz?token=secret` });
    expect(found.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(found.files.map(({ path }) => path)).toEqual(["install.sh"]);
    expect(await fetchFeature({ kind: "tarball", url: `${base}/moved` })).toEqual(found);
    const cases = [
      [`${base}/none?token=secret`, "not_found", `answers 404 for ${base}/none`],
      [`${base}/round`, "failed_precondition", "leads on more than 5 times"],
      [`${base}/away`, "invalid_argument", "must be an https address"],
      [`${base}/large`, "resource_exhausted", "more than 16 MiB"],
      [
        "http://registry.invalid/x?token=secret",
        "invalid_argument",
        "feature http://registry.invalid/x: must be an https",
      ],
      ["https://user:secret@127.0.0.1:1/x", "unavailable", "127.0.0.1:1 cannot be reached"],
    ] as const;
    for (const [url, code, message] of cases) {
      const error = await failureOf(fetchFeature({ kind: "tarball", url }));
      expect(error.code, error.message).toBe(code);
      expect(error.message).toContain(message);
      expect(error.message).not.toContain("secret");
    }
  } finally {
    server.close();
  }
});

test("an image in an archive is packed as one from a registry, and known by its digest", async () => {
  const { reference } = systems.musl;
  const layout = await pullFlattened(await resolveImage(reference), { cacheDir });
  const archive = join(cacheDir, "built.tar");
  await run("skopeo", ["copy", "--quiet", `oci:${layout}:image`, `docker-archive:${archive}`]);
  const built = await importImage(archive, "what was built", { cacheDir });
  // Folders that are added have the time at which they were.
  const withoutTimes = (files: Record<string, ImageFile>) =>
    Object.entries(files).map(([path, { modifiedSeconds, ...rest }]) => ({ path, ...rest }));
  expect(withoutTimes(await readImage(built.path))).toEqual(withoutTimes(await filesOf(reference)));
  expect(built.config).toEqual((await resolveImage(reference)).config);
  expect(await findBuiltImage(built.digest, { cacheDir })).toEqual(built);
  expect(await importImage(archive, "what was built", { cacheDir, progress: () => expect.unreachable() })).toEqual(
    built,
  );
  const flat = await flattenBuilt(built, { cacheDir });
  await run("skopeo", ["copy", "--quiet", `oci:${flat}:image`, `docker-archive:${join(cacheDir, "again.tar")}`]);
  const again = await importImage(join(cacheDir, "again.tar"), "what was flattened", { cacheDir });
  expect(withoutTimes(await readImage(again.path))).toEqual(withoutTimes(await readImage(built.path)));
  expect(again.config).toEqual(built.config);
});

test("what is no archive of an image, or was not built here, is told", async () => {
  const archive = join(cacheDir, "built.tar");
  await writeFile(archive, tarOf([{ path: "manifest.json", content: "[]" }]));
  const error = await failureOf(importImage(archive, "what was built", { cacheDir }));
  expect(error).toMatchObject({ code: "failed_precondition", message: "what was built is no archive of an image" });
  const digest = `sha256:${"0".repeat(64)}`;
  const missing = await failureOf(findBuiltImage(digest, { cacheDir }));
  expect(missing).toMatchObject({ code: "not_found", message: `this host has not built the image ${digest}` });
  expect((await readdir(cacheDir)).sort()).toEqual(["built.tar"]);
});

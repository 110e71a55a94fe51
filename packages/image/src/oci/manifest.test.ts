import { expect, test } from "vitest";
import { checkImageManifest, chooseManifest, type Manifest, parseImageConfig, parseManifest } from "./manifest.ts";

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: digest("b"), size: 100 };
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("a"), size: 10 };
const manifest = (layers: object[], other: object = {}) =>
  parseManifest(JSON.stringify({ schemaVersion: 2, config, layers, ...other }), "app") as Manifest;

test("what there is to fetch is counted", () => {
  expect(checkImageManifest(manifest([layer, layer]), "app", 1000)).toBe(210);
  expect(() => checkImageManifest(manifest([layer, layer]), "app", 209)).toThrow("app is larger than 209 B: 210 B");
});

test("there may be 256 layers", () => {
  const layers = Array.from({ length: 256 }, () => ({ ...layer, size: 1 }));
  expect(checkImageManifest(manifest(layers), "app", 1000)).toBe(266);
  expect(() => checkImageManifest(manifest([...layers, layer]), "app", 1000)).toThrow(
    "app has 257 layers, of at most 256",
  );
});

test("layers from elsewhere or of unknown kinds, and other artifacts, are refused", () => {
  const foreign = { ...layer, urls: ["https://registry.example/"] };
  expect(() => checkImageManifest(manifest([foreign]), "app", 1000)).toThrow(
    "app has a layer from outside of the registry",
  );
  const encrypted = { ...layer, mediaType: `${layer.mediaType}+encrypted` };
  expect(() => checkImageManifest(manifest([encrypted]), "app", 1000)).toThrow("+encrypted");
  const chart = { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" };
  expect(() => checkImageManifest(manifest([], { config: chart }), "app", 1000)).toThrow(
    "app is no image of a container",
  );
});

test("what is no manifest says so", () => {
  expect(() => parseManifest("<html>", "app")).toThrow("app: what the registry has is no JSON");
  expect(() => parseManifest('{"schemaVersion":1}', "app")).toThrow(
    "app has no manifest of OCI or of Docker's second version",
  );
  expect(() => manifest([{ ...layer, digest: "sha256:../../x" }])).toThrow("app has no manifest");
  expect(() => manifest([{ ...layer, size: -1 }])).toThrow("app has no manifest");
});

test("of a list the plain variant is taken, and what is missing is named", () => {
  const entry = (digit: string, platform: object) => ({ ...config, digest: digest(digit), platform });
  const list = (entries: object[]) => {
    const parsed = parseManifest(JSON.stringify({ schemaVersion: 2, manifests: entries }), "app");
    if (!("manifests" in parsed)) throw new Error("it is a list");
    return parsed;
  };
  const entries = [
    entry("1", { os: "linux", architecture: "amd64", variant: "v3" }),
    entry("2", { os: "linux", architecture: "amd64" }),
    entry("3", { os: "linux", architecture: "arm64", variant: "v8" }),
    entry("4", { os: "windows", architecture: "amd64" }),
    entry("5", { os: "unknown", architecture: "unknown" }),
  ];
  expect(chooseManifest(list(entries), "app", "amd64")).toBe(digest("2"));
  expect(chooseManifest(list(entries), "app", "arm64")).toBe(digest("3"));
  expect(() => chooseManifest(list(entries), "app", "s390x")).toThrow(
    "app is not there for linux/s390x, only for linux/amd64, linux/arm64, windows/amd64",
  );
  expect(() => chooseManifest(list([]), "app", "amd64")).toThrow("only for nothing");
});

test("a configuration may lack everything, or be for another platform", () => {
  const empty = { user: "", env: {}, workingDir: "", entrypoint: [], cmd: [], labels: {} };
  expect(parseImageConfig("{}", "app")).toEqual(empty);
  expect(parseImageConfig('{"config":{"Env":null,"Cmd":null,"Labels":null}}', "app")).toEqual(empty);
  expect(parseImageConfig('{"config":{"Env":["A=b=c","D","__proto__=x"]}}', "app").env.A).toBe("b=c");
  expect(() => parseImageConfig('{"os":"windows","architecture":"amd64"}', "app", "amd64")).toThrow(
    "only for windows/amd64",
  );
  expect(() => parseImageConfig('{"config":{"Env":"A=b"}}', "app")).toThrow("app has no configuration of an image");
});

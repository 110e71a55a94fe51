import { DormouseError } from "@dormouse/base";
import { expect, test } from "vitest";
import { registryError } from "./skopeo.ts";

const place = { registry: "registry.example", repository: "registry.example/app", tag: "1" };

// What skopeo 1.9 and 1.18 say, with the registry's own words.
test.each([
  ["reading manifest 1 in registry.example/app: manifest unknown: manifest unknown", "not_found"],
  ["reading manifest 1 in registry.example/app: name unknown: repository name not known to registry", "not_found"],
  [
    "reading manifest 1 in registry.example/app: errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required",
    "permission_denied",
  ],
  ["reading manifest 1 in registry.example/app: unauthorized: authentication required", "unauthenticated"],
  [
    "unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password",
    "unauthenticated",
  ],
  ["Requesting bearer token: invalid status code from registry 403 (Forbidden)", "permission_denied"],
  [
    "reading manifest 1 in registry.example/app: toomanyrequests: You have reached your pull rate limit.",
    "resource_exhausted",
  ],
  [
    'pinging container registry registry.example: Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
    "unavailable",
  ],
  [
    'pinging container registry registry.example: Get "https://registry.example/v2/": http: server gave HTTP response to HTTPS client',
    "unavailable",
  ],
  [
    'reading blob sha256:12: Get "https://registry.example/v2/": read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer',
    "unavailable",
  ],
  ["copying layer: happened during read: unexpected EOF", "unavailable"],
  [
    "pinging container registry registry.example: received unexpected HTTP status: 503 Service Unavailable",
    "unavailable",
  ],
  [
    'choosing image instance: no image found in manifest list for architecture amd64, variant "", OS linux',
    "failed_precondition",
  ],
  ["writing blob: happened during read: Digest did not match, expected sha256:12, got sha256:34", "data_loss"],
  ["writing blob: write /x/oci-put-blob1: no space left on device", "resource_exhausted"],
  ["something else", "internal"],
])("%s: %s", (text, code) => {
  const error = registryError(new DormouseError("internal", `skopeo ended with 1: ${text}`), place);
  expect(error.code).toBe(code);
  expect(error.message).toContain("registry.example");
});

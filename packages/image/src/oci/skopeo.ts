import { basename, dirname, resolve } from "node:path";
import { DormouseError, type ErrorCode } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { imageArchitecture } from "./manifest.ts";
import { type ImageReference, isLoopback } from "./reference.ts";

/** How registries are spoken to. */
export interface RegistryOptions {
  /** File of credentials in Docker's form; default: where skopeo looks for one itself (containers-auth.json(5)). */
  authFile?: string;
  /** Registries, as host[:port], that are spoken to without TLS; this machine's own addresses always are. */
  insecure?: readonly string[];
}

const requestTimeoutMs = 60_000;

/**
 * Asks a registry for something small.
 * @param what `raw`: the manifest as it is; `config`: the image's configuration as it is.
 * @throws DormouseError as {@link registryError} says, or `deadline_exceeded`.
 */
export async function inspect(
  what: "raw" | "config",
  place: ImageReference,
  options: RegistryOptions & { signal?: AbortSignal },
): Promise<string> {
  const flags = what === "raw" ? ["--raw"] : ["--config", "--raw"];
  const args = ["inspect", ...flags, ...accessFlags(place, options), sourceOf(place)];
  return (await skopeo(args, place, { timeoutMs: requestTimeoutMs, signal: options.signal })).stdout;
}

/**
 * Copies an image or artifact to an OCI layout, in which it is called `image`. Blobs that
 * are in the layout already are not fetched again; each is held against its digest.
 * @throws DormouseError as {@link registryError} says, `data_loss` for a blob that is not what its digest says.
 */
export async function copyToLayout(
  place: ImageReference,
  layout: string,
  options: RegistryOptions & { signal?: AbortSignal; timeoutMs: number },
): Promise<void> {
  const access = accessFlags(place, options).map((flag) => flag.replace("--tls-verify", "--src-tls-verify"));
  const args = ["copy", "--quiet", "--dest-oci-accept-uncompressed-layers", ...access];
  // From the layout's own folder, so that no colon in its path is taken for the name's.
  await skopeo([...args, sourceOf(place), `oci:${basename(layout)}:image`], place, {
    ...options,
    cwd: dirname(layout),
  });
}

/** As {@link inspect}, of an archive as `docker save` writes it. @throws DormouseError `failed_precondition` for what is none. */
export async function inspectArchive(
  what: "raw" | "config",
  archive: string,
  name: string,
  options: { signal?: AbortSignal },
): Promise<string> {
  const flags = what === "raw" ? ["--raw"] : ["--config", "--raw"];
  const args = ["inspect", ...flags, `docker-archive:${basename(archive)}`];
  const own = { timeoutMs: requestTimeoutMs, signal: options.signal, cwd: dirname(archive) };
  return (await runSkopeo(args, own).catch(archiveError(name))).stdout;
}

/** As {@link copyToLayout}, out of such an archive. @throws DormouseError `failed_precondition` for what is none. */
export async function copyArchiveToLayout(
  archive: string,
  layout: string,
  name: string,
  options: { signal?: AbortSignal; timeoutMs: number },
): Promise<void> {
  const target = `oci:${basename(layout)}:image`;
  const args = ["copy", "--quiet", "--dest-oci-accept-uncompressed-layers", `docker-archive:${archive}`, target];
  await runSkopeo(args, { ...options, cwd: dirname(layout) }).catch(archiveError(name));
}

function archiveError(name: string) {
  return (error: unknown): never => {
    if (!(error instanceof DormouseError) || error.details.code === undefined) throw error;
    throw new DormouseError("failed_precondition", `${name} is no archive of an image`, { cause: error });
  };
}

function sourceOf({ repository, tag, digest }: ImageReference): string {
  return `docker://${repository}${digest ? `@${digest}` : `:${tag}`}`;
}

function accessFlags(place: ImageReference, options: RegistryOptions): string[] {
  const isOpen = isLoopback(place.registry) || options.insecure?.includes(place.registry);
  return [
    ...(options.authFile ? ["--authfile", resolve(options.authFile)] : []),
    // With this skopeo takes any certificate, and plain HTTP where there is no TLS at all.
    ...(isOpen ? ["--tls-verify=false"] : []),
  ];
}

interface SkopeoOptions {
  timeoutMs: number;
  signal?: AbortSignal;
  cwd?: string;
}

async function skopeo(args: readonly string[], place: ImageReference, options: SkopeoOptions) {
  try {
    return await runSkopeo(args, options);
  } catch (error) {
    // Whatever has no exit code did not come from skopeo: a time-out, the caller's signal, no skopeo at all.
    if (!(error instanceof DormouseError) || error.details.code === undefined) throw error;
    throw registryError(error, place);
  }
}

function runSkopeo(args: readonly string[], { timeoutMs, signal, cwd }: SkopeoOptions) {
  const platform = ["--override-os", "linux", "--override-arch", imageArchitecture()];
  // Should this process be killed, the kernel ends skopeo too.
  const command = ["--pdeathsig", "KILL", "--", "skopeo", ...platform, ...args];
  return run("setpriv", command, { timeoutMs, signal, cwd });
}

/** What skopeo and registries say, and what it means; the first that fits. */
const meanings: readonly (readonly [
  pattern: RegExp,
  code: ErrorCode,
  message: (name: string, host: string) => string,
])[] = [
  [
    /toomanyrequests|too many requests/i,
    "resource_exhausted",
    (name, host) => `${host} refuses ${name} for now: too many requests from here`,
  ],
  [
    /manifest unknown|name unknown|repository name not known|manifest for \S+ not found|reading manifest.*(?:not found|status code 404)/i,
    "not_found",
    (name) => `there is no image ${name}`,
  ],
  [
    /insufficient_scope|access to the (?:requested )?resource is denied|\bdenied\b|forbidden|status code 403/i,
    "permission_denied",
    (name, host) => `${host} does not give ${name} to whom asks: it does not exist, or needs other credentials`,
  ],
  [
    /unauthorized|authentication required|invalid username\/password|incorrect username|status code 401/i,
    "unauthenticated",
    (name, host) => `${host} does not give ${name} with these credentials, or needs some`,
  ],
  [
    /no image found in (?:manifest list|image index)/i,
    "failed_precondition",
    (name) => `${name} is not there for linux/${imageArchitecture()}`,
  ],
  [
    /digest did not match|does not match.*digest|digest mismatch|blob size mismatch/i,
    "data_loss",
    (name, host) => `what ${host} sent for ${name} is not what the digest says`,
  ],
  [
    /no space left on device|disk quota exceeded/i,
    "resource_exhausted",
    (name) => `there is no space left on this host for ${name}`,
  ],
  [
    /gave HTTP response to HTTPS client|x509:|tls:/i,
    "unavailable",
    (_, host) => `${host} has no TLS certificate that this host trusts`,
  ],
  [
    /pinging container registry|connection re(?:fused|set)|no such host|i\/o timeout|TLS handshake timeout|unreachable|no route|deadline exceeded|server misbehaving|broken pipe|closed network connection|\bEOF\b|status(?: code)?:? 5\d\d|received unexpected HTTP status/i,
    "unavailable",
    (name, host) => `${host} cannot be reached, or does not answer as a registry should, for ${name}`,
  ],
];

/**
 * Says in our words why skopeo failed. What it said itself is the cause, which is logged and not sent;
 * it names addresses, never passwords.
 * @returns DormouseError `not_found`, `unauthenticated`, `permission_denied`, `unavailable`, `resource_exhausted`,
 *   `failed_precondition`, `data_loss`, else `internal`.
 */
export function registryError(cause: DormouseError, place: ImageReference): DormouseError {
  const { repository, tag, digest, registry } = place;
  const name = digest ? `${repository}@${digest}` : `${repository}:${tag}`;
  for (const [pattern, code, message] of meanings) {
    if (pattern.test(cause.message)) return new DormouseError(code, message(name, registry), { cause });
  }
  return new DormouseError("internal", `skopeo could not read ${name}`, { cause });
}

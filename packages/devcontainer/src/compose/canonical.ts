import { posix } from "node:path";

/** A mapping as it is written. */
export type Mapping = Record<string, unknown>;

/** How {@link canonicalService} reads. */
export interface CanonicalOptions {
  /** What paths are relative to: a folder, relative to the repository. */
  folder: string;
  /** Where a variable without a value has its value from. */
  env: Readonly<Record<string, string>>;
}

/** Properties that may be a list of `name=value` or a mapping. */
const pairs = ["annotations", "labels", "sysctls"];
/** Properties that may be one value or a list. */
const lists = ["dns", "dns_search", "tmpfs", "label_file"];

/**
 * Brings a service into the long form of everything that has a short one, so that two files can be merged, and its paths
 * into relation to the repository. What has already this form stays as it is.
 */
export function canonicalService(raw: Mapping, options: CanonicalOptions): Mapping {
  const { folder, env } = options;
  const service: Mapping = { ...raw };
  const replace = (name: string, change: (value: unknown) => unknown) => {
    if (service[name] !== undefined && service[name] !== null) service[name] = change(service[name]);
  };
  for (const name of pairs) replace(name, (value) => toMapping(value));
  for (const name of lists) replace(name, (value) => [value].flat());
  replace("environment", (value) => withValues(toMapping(value), env));
  replace("extra_hosts", (value) => hostsOf(value));
  replace("networks", (value) =>
    Array.isArray(value) ? Object.fromEntries(value.map((name) => [name, null])) : value,
  );
  replace("depends_on", (value) =>
    Array.isArray(value) ? Object.fromEntries(value.map((name) => [name, { condition: "service_started" }])) : value,
  );
  replace("env_file", (value) =>
    [value].flat().map((entry) => {
      const file = typeof entry === "string" ? { path: entry } : (entry as Mapping);
      return { ...file, path: placeOf(folder, String(file.path)) };
    }),
  );
  replace("ports", (value) => (value as unknown[]).flatMap(portsOf));
  replace("volumes", (value) => (value as unknown[]).map((entry) => volumeOf(entry, folder)));
  for (const name of ["secrets", "configs"]) {
    replace(name, (value) =>
      (value as unknown[]).map((entry) => (typeof entry === "string" ? { source: entry } : entry)),
    );
  }
  replace("build", (value) => buildOf(value, options));
  replace("healthcheck", (value) => {
    const check = value as Mapping;
    return typeof check.test === "string" ? { ...check, test: ["CMD-SHELL", check.test] } : check;
  });
  return service;
}

/** A path of a file, relative to the repository unless it is absolute. */
export function placeOf(folder: string, path: string): string {
  if (path.startsWith("/") || path.startsWith("~")) return path;
  return posix.join(folder, path).replace(/(.)\/$/, "$1");
}

function buildOf(value: unknown, { folder, env }: CanonicalOptions): Mapping {
  const build: Mapping = typeof value === "string" ? { context: value } : { ...(value as Mapping) };
  const context = typeof build.context === "string" ? build.context : ".";
  build.context = isRemote(context) ? context : placeOf(folder, context);
  if (build.args !== undefined && build.args !== null) build.args = withValues(toMapping(build.args), env);
  if (build.labels !== undefined && build.labels !== null) build.labels = toMapping(build.labels);
  if (build.extra_hosts !== undefined && build.extra_hosts !== null) build.extra_hosts = hostsOf(build.extra_hosts);
  return build;
}

/** Whether a context is fetched from elsewhere. */
export function isRemote(context: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/|^git@|^github\.com\//.test(context);
}

function toMapping(value: unknown): Mapping {
  if (!Array.isArray(value)) return { ...(value as Mapping) };
  return Object.fromEntries(
    value.map((entry) => {
      const text = String(entry);
      const equals = text.indexOf("=");
      return equals < 0 ? [text, null] : [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}

/** What has no value takes it from where the file is read; what has none there either is not set. */
function withValues(mapping: Mapping, env: Readonly<Record<string, string>>): Mapping {
  return Object.fromEntries(
    Object.entries(mapping).flatMap(([name, value]) => {
      const text = value === null ? env[name] : String(value);
      return text === undefined ? [] : [[name, text]];
    }),
  );
}

/** `name:address`, `name=address`, or a mapping of names to one or several addresses; as the mapping of lists. */
function hostsOf(value: unknown): Mapping {
  const entries = Array.isArray(value)
    ? value.map((entry) => {
        const [, name = "", address = ""] = /^([^:=]+)[:=](.*)$/.exec(String(entry)) ?? [];
        return [name.trim(), address.trim()] as const;
      })
    : Object.entries(value as Mapping).flatMap(([name, address]) =>
        [address].flat().map((one) => [name, String(one)] as const),
      );
  const hosts: Record<string, string[]> = {};
  for (const [name, address] of entries) {
    hosts[name] = [...(hosts[name] ?? []), address.replace(/^\[(.*)\]$/, "$1")];
  }
  return hosts;
}

/** Of a port's number as it is written, and the ports that a range of them means. */
function rangeOf(text: string): number[] {
  const [first = "", last = first] = text.split("-", 2);
  const [from, to] = [Number(first || Number.NaN), Number(last || Number.NaN)];
  const isRange = Number.isInteger(from) && Number.isInteger(to) && from >= 0 && to >= from && to <= 65535;
  // What is none is told when the service is read.
  return isRange ? Array.from({ length: to - from + 1 }, (_, index) => from + index) : [Number.NaN];
}

/** `[[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]`, with ranges; or the long form, one for each port. */
function portsOf(entry: unknown): Mapping[] {
  if (typeof entry === "object" && entry !== null) {
    const port = entry as Mapping;
    const published = port.published === undefined || port.published === "" ? undefined : String(port.published);
    if (published === undefined) return [{ protocol: "tcp", ...port, target: Number(port.target) }];
    return rangeOf(published).map((number) => ({
      protocol: "tcp",
      ...port,
      target: Number(port.target),
      published: number,
    }));
  }
  const written = String(entry);
  const [, address, published, target = "", protocol = "tcp"] =
    /^(?:(?:(\[[^\]]*\]|[^:]*):)?([\d-]*):)?([\d-]+)(?:\/([a-z]+))?$/.exec(written) ?? [];
  const targets = rangeOf(target);
  const numbers = published ? rangeOf(published) : [];
  return targets.map((one, index) => ({
    target: one,
    protocol,
    ...(numbers[index] !== undefined && { published: numbers[index] }),
    ...(address && { host_ip: address.replace(/^\[(.*)\]$/, "$1") }),
    ...(Number.isNaN(one) && { written }),
  }));
}

/** `[SOURCE:]TARGET[:MODE]`, or the long form. A source that begins like a path is one, any other the name of a volume. */
function volumeOf(entry: unknown, folder: string): Mapping {
  if (typeof entry === "object" && entry !== null) {
    const volume = entry as Mapping;
    const isBind = volume.type === "bind" && typeof volume.source === "string";
    return isBind ? { ...volume, source: placeOf(folder, String(volume.source)) } : { ...volume };
  }
  const [first = "", second, mode = ""] = String(entry).split(":");
  if (second === undefined) return { type: "volume", target: first };
  const readOnly = mode.split(",").includes("ro") ? { read_only: true } : {};
  const isPath = /^[./~]/.test(first);
  return isPath
    ? { type: "bind", source: placeOf(folder, first), target: second, ...readOnly }
    : { type: "volume", source: first, target: second, ...readOnly };
}

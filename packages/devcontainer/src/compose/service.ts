import type { JsonPath } from "../document.ts";
import { isRemote, type Mapping } from "./canonical.ts";
import { isMapping } from "./merge.ts";

/** How the image of a service is built. Paths are relative to the repository. */
export interface ComposeBuild {
  context: string;
  /** Relative to the context. */
  dockerfile: string;
  /** The Dockerfile itself, where it stands in the Compose file. */
  inline: string | null;
  target: string | null;
  args: Record<string, string>;
  labels: Record<string, string>;
  extraHosts: string[];
}

/** Something that is mounted in a service. */
export interface ComposeMount {
  /** A `bind` of a file or folder, a named `volume` or, without a source, one of the service's own; `tmpfs`. */
  type: "bind" | "volume" | "tmpfs";
  /** Of a bind relative to the repository unless it is absolute. */
  source: string | null;
  target: string;
  readOnly: boolean;
}

/** A command that tells whether a service is well. */
export interface ComposeHealthcheck {
  test: string[];
  intervalMs: number;
  timeoutMs: number;
  retries: number;
  startPeriodMs: number;
}

/** What another service must have come to before a service is started. */
export interface ComposeDependency {
  service: string;
  condition: "service_started" | "service_healthy" | "service_completed_successfully";
  required: boolean;
}

/** A service of a Compose project, merged from all files, in the form that it is run in. */
export interface ComposeService {
  name: string;
  image: string | null;
  build: ComposeBuild | null;
  /** Null: the image's. */
  command: string[] | null;
  entrypoint: string[] | null;
  environment: Record<string, string>;
  user: string | null;
  workingDir: string | null;
  hostname: string | null;
  dependsOn: ComposeDependency[];
  /** Null: the image's; `none` where that is switched off. */
  healthcheck: ComposeHealthcheck | "none" | null;
  ports: { target: number; published: number | null; hostIp: string | null; protocol: string }[];
  mounts: ComposeMount[];
  /** `host`, `none` or `service:NAME`; null: the project's network. */
  networkMode: string | null;
  /** More names that it is reached by. */
  aliases: string[];
  /** `name:address`. */
  extraHosts: string[];
  /** As podman knows it: `no`, `always`, `on-failure[:N]`, `unless-stopped`. */
  restart: string;
  profiles: string[];
  /** Arguments of podman for what means the same there. */
  options: string[];
}

/** Told of what is wrong in a service, or has no meaning in a machine. */
export interface ServiceReport {
  error(path: JsonPath, message: string): void;
  note(path: JsonPath, message: string): void;
}

/** What a service says that is done elsewhere, or that makes no difference to whoever works with it. */
const ignored = new Set(
  (
    "attach container_name develop domainname env_file expose extends isolation label_file labels annotations links " +
    "logging provider pull_policy pull_refresh_after scale stdin_open"
  ).split(" "),
);

/** What has no meaning in a machine, and why. */
const meaningless: Readonly<Record<string, string>> = {
  ...reasons(
    "services share the processors and the memory of their machine",
    "blkio_config cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset deploy " +
      "mem_limit mem_reservation mem_swappiness memswap_limit oom_kill_disable oom_score_adj pids_limit storage_opt",
  ),
  ...reasons("a machine has no devices of its host's", "device_cgroup_rules devices gpus"),
  ...reasons(
    "not supported",
    "cgroup cgroup_parent credential_spec dns dns_opt dns_search external_links ipc mac_address models pid post_start " +
      "pre_stop runtime security_opt use_api_socket userns_mode uts volumes_from",
  ),
};

function reasons(reason: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(" ").map((name) => [name, reason]));
}

/**
 * Reads a service in its long form.
 * @param files where secrets and configs come from, by `secrets` or `configs` and their name.
 */
export function readService(
  name: string,
  raw: Mapping,
  options: { files: ReadonlyMap<string, string>; environment: Record<string, string>; report: ServiceReport },
): ComposeService {
  const { report } = options;
  const path = ["services", name];
  for (const [key, value] of Object.entries(raw)) {
    const reason = meaningless[key];
    if (reason !== undefined && value !== null) report.note([...path, key], `has no effect: ${reason}`);
  }
  const image = typeof raw.image === "string" && raw.image !== "" ? raw.image : null;
  const build = isMapping(raw.build) ? readBuild(raw.build, [...path, "build"], report) : null;
  if (!image && !build) report.error(path, "has neither image nor build: one of them must be there");
  return {
    ...{ name, image, build },
    command: readCommand(raw.command),
    entrypoint: readCommand(raw.entrypoint),
    environment: { ...options.environment, ...(raw.environment as Record<string, string> | undefined) },
    user: textOf(raw.user),
    workingDir: textOf(raw.working_dir),
    hostname: textOf(raw.hostname),
    dependsOn: readDependencies(raw, name),
    healthcheck: isMapping(raw.healthcheck) ? readHealthcheck(raw.healthcheck, [...path, "healthcheck"], report) : null,
    ports: readPorts(raw.ports, [...path, "ports"], report),
    mounts: [...readMounts(raw, path, report), ...fileMounts(raw, path, options)],
    networkMode: readNetworkMode(raw.network_mode, [...path, "network_mode"], report),
    aliases: readAliases(raw),
    extraHosts: Object.entries((raw.extra_hosts ?? {}) as Record<string, string[]>).flatMap(([host, addresses]) =>
      addresses.map((address) => `${host}:${address}`),
    ),
    restart: readRestart(raw.restart, [...path, "restart"], report),
    profiles: ((raw.profiles ?? []) as unknown[]).map(String),
    options: readOptions(raw, path, report),
  };
}

/** Names of properties that {@link readService} knows nothing of, for a test that holds them against the schema. */
export function isKnownServiceProperty(name: string): boolean {
  return ignored.has(name) || name in meaningless || handled.has(name);
}

const handled = new Set(
  (
    "build cap_add cap_drop command configs depends_on entrypoint environment extra_hosts group_add healthcheck hostname " +
    "image init network_mode networks platform ports privileged profiles read_only restart secrets shm_size " +
    "stop_grace_period stop_signal sysctls tmpfs tty ulimits user volumes working_dir"
  ).split(" "),
);

function textOf(value: unknown): string | null {
  return value === undefined || value === null || value === "" ? null : String(value);
}

/** A list as it is, text as a shell would split it; an empty one is one, unlike null. */
function readCommand(value: unknown): string[] | null {
  if (value === undefined || value === null) return null;
  return Array.isArray(value) ? value.map(String) : splitWords(String(value));
}

/** Splits a command as a shell does, quotes and backslashes kept in mind, nothing replaced. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /(?:"((?:\\[\s\S]|[^"\\])*)"|'([^']*)'|\\([\s\S])|([^\s"'\\]+))(\s|$)?/g;
  let word: string | undefined;
  for (const [, double, single, escaped, plain, end] of text.trim().matchAll(pattern)) {
    word = (word ?? "") + (double?.replace(/\\(["\\$`])/g, "$1") ?? single ?? escaped ?? plain ?? "");
    if (end === undefined) continue;
    words.push(word);
    word = undefined;
  }
  return word === undefined ? words : [...words, word];
}

function readBuild(raw: Mapping, path: JsonPath, report: ServiceReport): ComposeBuild {
  const context = String(raw.context);
  if (isRemote(context)) {
    report.error([...path, "context"], `is ${JSON.stringify(context)}: must be a folder of the repository`);
  }
  for (const key of ["ssh", "secrets", "additional_contexts", "network", "privileged", "entitlements", "provenance"]) {
    if (raw[key] !== undefined && raw[key] !== null) report.note([...path, key], "is not passed on to the build");
  }
  return {
    context,
    dockerfile: textOf(raw.dockerfile) ?? "Dockerfile",
    inline: textOf(raw.dockerfile_inline),
    target: textOf(raw.target),
    args: (raw.args ?? {}) as Record<string, string>,
    labels: Object.fromEntries(
      Object.entries((raw.labels ?? {}) as Mapping).map(([name, value]) => [name, String(value ?? "")]),
    ),
    extraHosts: Object.entries((raw.extra_hosts ?? {}) as Record<string, string[]>).flatMap(([host, addresses]) =>
      addresses.map((address) => `${host}:${address}`),
    ),
  };
}

function readDependencies(raw: Mapping, name: string): ComposeDependency[] {
  const found = new Map<string, ComposeDependency>();
  const add = (service: string, rest: Partial<ComposeDependency> = {}) => {
    if (service === name || found.has(service)) return;
    found.set(service, { service, condition: "service_started", required: true, ...rest });
  };
  for (const [service, value] of Object.entries((raw.depends_on ?? {}) as Record<string, Mapping>)) {
    add(service, {
      condition: (value.condition as ComposeDependency["condition"] | undefined) ?? "service_started",
      required: value.required !== false,
    });
  }
  for (const link of (raw.links ?? []) as unknown[]) add(String(link).split(":")[0] ?? "");
  const shared = /^service:(.+)$/.exec(String(raw.network_mode ?? ""))?.[1];
  if (shared !== undefined) add(shared);
  return [...found.values()];
}

function readHealthcheck(raw: Mapping, path: JsonPath, report: ServiceReport): ComposeService["healthcheck"] {
  const test = ((raw.test ?? []) as unknown[]).map(String);
  if (isTrue(raw.disable) || test[0] === "NONE") return "none";
  // Only its times are given: the command is the image's.
  if (test.length === 0) return null;
  if (test[0] !== "CMD" && test[0] !== "CMD-SHELL") {
    report.error([...path, "test"], `begins with ${JSON.stringify(test[0])}: must be "CMD", "CMD-SHELL" or "NONE"`);
  }
  const duration = (key: string, otherwise: number) => {
    const value = raw[key];
    if (value === undefined || value === null) return otherwise;
    const ms = parseDuration(String(value));
    if (ms === undefined) report.error([...path, key], `is ${JSON.stringify(value)}: must be a time such as "1m30s"`);
    return ms ?? otherwise;
  };
  return {
    test,
    intervalMs: duration("interval", 30_000),
    timeoutMs: duration("timeout", 30_000),
    retries: Math.max(1, Number(raw.retries ?? 3) || 3),
    startPeriodMs: duration("start_period", 0),
  };
}

const units: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time such as `1m30s` or `500ms`, in milliseconds; undefined for what is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, amount, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(us|ms|s|m|h|d)/g)) {
    ms += Number(amount) * (units[unit] ?? 0);
  }
  return ms;
}

function readPorts(value: unknown, path: JsonPath, report: ServiceReport): ComposeService["ports"] {
  return ((value ?? []) as Mapping[]).flatMap((port) => {
    const { target, published, host_ip, protocol, written } = port;
    const isPort = (number: unknown) => Number.isInteger(number) && Number(number) > 0 && Number(number) <= 65535;
    if (!isPort(target) || (published !== undefined && !isPort(published))) {
      report.error(path, `has ${JSON.stringify(written ?? published ?? target)}: must be ports such as "8080:80"`);
      return [];
    }
    return [
      {
        target: Number(target),
        published: published === undefined ? null : Number(published),
        hostIp: textOf(host_ip),
        protocol: String(protocol ?? "tcp"),
      },
    ];
  });
}

function readMounts(raw: Mapping, path: JsonPath, report: ServiceReport): ComposeMount[] {
  const mounts = ((raw.volumes ?? []) as Mapping[]).flatMap((volume): ComposeMount[] => {
    const { type, source, target, read_only } = volume;
    const at = [...path, "volumes"];
    if (typeof target !== "string" || !target.startsWith("/")) {
      report.error(at, `has the target ${JSON.stringify(target)}: must be a path that begins with /`);
      return [];
    }
    if (type !== "bind" && type !== "volume" && type !== "tmpfs") {
      report.note(at, `nothing is mounted at ${target}: the type ${String(type)} is not supported`);
      return [];
    }
    const text = textOf(source);
    // Of the host on which Docker would run: a machine has its own.
    if (type === "bind" && (text === null || /^~|(^|\/)docker\.sock$/.test(text))) {
      report.note(at, `nothing is mounted at ${target}: ${text ?? "its source"} is of another machine`);
      return [];
    }
    return [{ type, source: text, target, readOnly: isTrue(read_only) }];
  });
  return mounts;
}

function fileMounts(
  raw: Mapping,
  path: JsonPath,
  { files, report }: { files: ReadonlyMap<string, string>; report: ServiceReport },
): ComposeMount[] {
  return ["secrets", "configs"].flatMap((kind) =>
    ((raw[kind] ?? []) as Mapping[]).flatMap((entry): ComposeMount[] => {
      const name = String(entry.source);
      const file = files.get(`${kind}.${name}`);
      if (file === undefined) {
        report.note([...path, kind], `${name} is not mounted: only what lies in a file is`);
        return [];
      }
      const usual = kind === "secrets" ? `/run/secrets/${name}` : `/${name}`;
      const wanted = textOf(entry.target);
      const target = wanted === null ? usual : wanted.startsWith("/") ? wanted : `/run/secrets/${wanted}`;
      return [{ type: "bind", source: file, target, readOnly: true }];
    }),
  );
}

function readNetworkMode(value: unknown, path: JsonPath, report: ServiceReport): string | null {
  const text = textOf(value);
  if (text === null || text === "bridge" || text === "default") return null;
  if (text === "host" || text === "none" || /^service:.+/.test(text)) return text;
  report.error(path, `is ${JSON.stringify(text)}: must be "host", "none", "bridge" or "service:" and a name`);
  return null;
}

function readAliases(raw: Mapping): string[] {
  const names = Object.values((raw.networks ?? {}) as Record<string, Mapping | null>).flatMap((network) =>
    ((network?.aliases ?? []) as unknown[]).map(String),
  );
  return [...new Set([...names, ...(textOf(raw.container_name) === null ? [] : [String(raw.container_name)])])];
}

function readRestart(value: unknown, path: JsonPath, report: ServiceReport): string {
  const text = textOf(value) ?? "no";
  if (/^(no|always|unless-stopped|on-failure(:\d+)?)$/.test(text)) return text;
  report.error(path, `is ${JSON.stringify(text)}: must be "no", "always", "on-failure" or "unless-stopped"`);
  return "no";
}

function readOptions(raw: Mapping, path: JsonPath, report: ServiceReport): string[] {
  const each = (key: string, option: string) => ((raw[key] ?? []) as unknown[]).map((value) => `${option}=${value}`);
  const options = [
    ...each("cap_add", "--cap-add"),
    ...each("cap_drop", "--cap-drop"),
    ...each("group_add", "--group-add"),
    ...each("tmpfs", "--tmpfs"),
    ...Object.entries((raw.sysctls ?? {}) as Mapping).map(([name, value]) => `--sysctl=${name}=${value}`),
    ...Object.entries((raw.ulimits ?? {}) as Mapping).map(([name, value]) =>
      isMapping(value) ? `--ulimit=${name}=${value.soft}:${value.hard}` : `--ulimit=${name}=${value}:${value}`,
    ),
  ];
  for (const [key, option] of [
    ["init", "--init"],
    ["privileged", "--privileged"],
    ["read_only", "--read-only"],
    ["tty", "--tty"],
  ] as const) {
    if (isTrue(raw[key])) options.push(option);
  }
  const size = textOf(raw.shm_size);
  if (size !== null) options.push(`--shm-size=${size.replace(/b$/i, "") || "0"}`);
  const stopSignal = textOf(raw.stop_signal);
  if (stopSignal !== null) options.push(`--stop-signal=${stopSignal}`);
  const grace = textOf(raw.stop_grace_period);
  if (grace === null) return options;
  const ms = parseDuration(grace);
  if (ms === undefined) {
    report.error([...path, "stop_grace_period"], `is ${JSON.stringify(grace)}: must be a time such as "1m30s"`);
    return options;
  }
  return [...options, `--stop-timeout=${Math.ceil(ms / 1000)}`];
}

function isTrue(value: unknown): boolean {
  return value === true || value === "true";
}

import { DormouseError } from "@dormouse/base";
import type { DevcontainerConfig, PortAttributes } from "./config.ts";
import type { MergedConfig } from "./merge.ts";

/** A port that is to be forwarded. */
export interface ForwardedPort {
  /** `localhost` is the container itself; other names are services beside it. */
  host: string;
  port: number;
}

const maxPort = 65_535;

/**
 * Reads one entry of `forwardPorts`: a number, or `host:port`.
 * @throws DormouseError `invalid_argument`.
 */
export function parseForwardedPort(entry: number | string): ForwardedPort {
  const [, host = "localhost", text] = typeof entry === "number" ? [] : (/^([a-z0-9-]+):(\d{1,5})$/.exec(entry) ?? []);
  const port = typeof entry === "number" ? entry : Number(text ?? Number.NaN);
  if (!Number.isInteger(port) || port < 0 || port > maxPort) {
    const problem = `is ${JSON.stringify(entry)}: must be a whole number from 0 to ${maxPort} or "host:port" with one`;
    throw new DormouseError("invalid_argument", `port ${problem}`, { details: { problem } });
  }
  return { host, port };
}

/** One entry of `appPort` stands for at most so many ports: a range as long as this was not meant. */
const maxAppPorts = 100;

/**
 * Reads one entry of `appPort`: a number, or what a container tool takes to publish ports,
 * `[[address:]outer port:]inner port[/tcp]`, also with ranges. Answers the inner ports; of UDP there are none to forward.
 * @throws DormouseError `invalid_argument`.
 */
export function parseAppPort(entry: number | string): number[] {
  const pattern =
    /^(?:(?:(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]|localhost):)?(?:\d{1,5}(?:-\d{1,5})?)?:)?(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp))?$/;
  const [, first, last = first, protocol] = pattern.exec(String(entry)) ?? [];
  const [low, high] = [Number(first ?? Number.NaN), Number(last ?? Number.NaN)];
  if (!(low >= 1 && low <= high && high <= maxPort && high - low < maxAppPorts)) {
    const problem = `is ${JSON.stringify(entry)}: must be a port from 1 to ${maxPort}, or ports to publish such as "8080:3000", at most ${maxAppPorts} of them`;
    throw new DormouseError("invalid_argument", `appPort ${problem}`, { details: { problem } });
  }
  return protocol === "udp" ? [] : Array.from({ length: high - low + 1 }, (_, index) => low + index);
}

function publishedPorts(entry: number | string): number[] {
  try {
    return parseAppPort(entry);
  } catch {
    return [];
  }
}

/**
 * The ports that a definition has forwarded: of `forwardPorts`, then of `appPort`, each once. Of `appPort` what is no port
 * is left out: it has variables, or was told by `parseConfig`.
 */
export function portsToForward(options: {
  forwardPorts: MergedConfig["forwardPorts"];
  appPort: DevcontainerConfig["appPort"];
}): ForwardedPort[] {
  const published = [options.appPort ?? []].flat().flatMap(publishedPorts);
  const all = [
    ...options.forwardPorts.map(parseForwardedPort),
    ...published.map((port) => ({ host: "localhost", port })),
  ];
  return [...new Map(all.map((each) => [`${each.host}:${each.port}`, each])).values()];
}

/**
 * The attributes of a port ("Port attributes"): those of its number or `host:port`, else of the first range that holds
 * it, else of the first regular expression that the command line of its process matches, else `otherPortsAttributes`.
 *
 * The expressions come from the repository and may be slow on purpose: only for command lines of its own machine, and
 * not where others wait.
 */
export function attributesOf(
  { portsAttributes, otherPortsAttributes = {} }: Pick<MergedConfig, "portsAttributes" | "otherPortsAttributes">,
  port: number | ForwardedPort,
  processCommand?: string,
): PortAttributes {
  const { host, port: number } = typeof port === "number" ? { host: "localhost", port } : port;
  const entries = Object.entries(portsAttributes).map(([key, attributes]) => ({ key: parsePortKey(key), attributes }));
  const find = (matches: (key: PortKey) => boolean) => entries.find(({ key }) => matches(key))?.attributes;
  return (
    find((key) => key.kind === "port" && key.host === host && key.port === number) ??
    find((key) => key.kind === "range" && host === "localhost" && key.first <= number && number <= key.last) ??
    find((key) => key.kind === "command" && processCommand !== undefined && key.pattern.test(processCommand)) ??
    otherPortsAttributes
  );
}

/** What a key of `portsAttributes` selects. */
export type PortKey =
  | { kind: "port"; host: string; port: number }
  | { kind: "range"; first: number; last: number }
  | { kind: "command"; pattern: RegExp }
  | { kind: "invalid"; reason: string };

/** Reads a key of `portsAttributes`: a port, `host:port`, a range, or a regular expression. */
export function parsePortKey(key: string): PortKey {
  const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(key) ?? [];
  if (first !== undefined) {
    const [low, high] = [Number(first), Number(last ?? first)];
    if (low > maxPort || high > maxPort)
      return { kind: "invalid", reason: `must be named by ports from 0 to ${maxPort}` };
    if (low > high) return { kind: "invalid", reason: "must be named by a range with its lower port first" };
    return last === undefined
      ? { kind: "port", host: "localhost", port: low }
      : { kind: "range", first: low, last: high };
  }
  const [, host, port] = /^([a-z0-9-]+):(\d{1,5})$/.exec(key) ?? [];
  if (host !== undefined && Number(port) <= maxPort) return { kind: "port", host, port: Number(port) };
  try {
    return { kind: "command", pattern: new RegExp(key) };
  } catch {
    return { kind: "invalid", reason: "must be named by a port, a range of ports or a valid regular expression" };
  }
}

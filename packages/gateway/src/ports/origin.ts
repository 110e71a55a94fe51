import type { IncomingMessage } from "node:http";
import { DormouseError } from "@dormouse/base";

/** Where ports have their origins. */
export interface PortsDomain {
  /** `http:` or `https:`. */
  scheme: string;
  /** With its port, if that is not the scheme's own, e.g. `localhost:7070`. */
  domain: string;
}

/** A port by its origin, `<port>--<label>.<domain>`. */
export interface PortOrigin {
  label: string;
  port: number;
}

/**
 * The port whose origin a request is made to; undefined: it is for the platform itself.
 * @throws DormouseError `invalid_argument` for several Host headers, and for one that looks like a port's and is none;
 *   `permission_denied` for a header that claims another host than the one that was asked for.
 */
export function portOriginOf(request: IncomingMessage, ports: PortsDomain | undefined): PortOrigin | undefined {
  const { rawHeaders, headers } = request;
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === "host");
  if (hosts.length > 1) throw new DormouseError("invalid_argument", "Host: it must stand in a request once");
  const host = headers.host?.toLowerCase() ?? "";
  const origin = ports && parseHost(host, ports.domain);
  if (!origin) {
    const belongsToPorts = /^\d+--/.test(host) || (ports && host.endsWith(`.${ports.domain}`));
    if (!belongsToPorts) return undefined;
    const right = ports ? `it must be PORT--WORKSPACE.${ports.domain}` : "this platform has no domain for ports";
    throw new DormouseError("invalid_argument", `Host is ${JSON.stringify(host.slice(0, 200))}: ${right}`);
  }
  const claimed = headers["x-forwarded-host"];
  // A proxy in front may say what it was asked for, which then is the same.
  if (claimed !== undefined && String(claimed).toLowerCase() !== host) {
    throw new DormouseError("permission_denied", "X-Forwarded-Host: it must be the host that is asked for");
  }
  return origin;
}

/** The address of a port. */
export function originUrl({ label, port }: PortOrigin, { scheme, domain }: PortsDomain): string {
  return `${scheme}//${port}--${label}.${domain}`;
}

function parseHost(host: string, domain: string): PortOrigin | undefined {
  if (!host.endsWith(`.${domain}`)) return undefined;
  const name = host.slice(0, -domain.length - 1);
  const [, port, label] = /^([1-9]\d{0,4})--([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)$/.exec(name) ?? [];
  if (port === undefined || label === undefined || Number(port) > 65_535 || name.length > 63) return undefined;
  return { label, port: Number(port) };
}

import { readFile } from "node:fs/promises";
import { parseIpv4 } from "./ipv4.ts";

/** Where the guests' DNS questions go: rewritten to a resolver's address, or to a relay on a port of this host. */
export type Resolver = { kind: "upstream"; address: string } | { kind: "relay"; port: number };

/**
 * Where the real upstream resolvers stand, first match wins. Hosts with a local stub (systemd-resolved,
 * NetworkManager's dnsmasq) name only its loopback address in the first file and the real ones in another.
 */
export const resolverFiles: readonly string[] = [
  "/etc/resolv.conf",
  "/run/systemd/resolve/resolv.conf",
  "/run/NetworkManager/no-stub-resolv.conf",
];

/**
 * The host's resolver: the first IPv4 address outside 127.0.0.0/8 in {@link resolverFiles}. When there is only a stub on
 * the host's loopback that one, which a guest's packets cannot be sent to: a relay has to ask it. With no file at all
 * 127.0.0.1, as resolv.conf(5) says.
 */
export async function findResolver(files: readonly string[] = resolverFiles): Promise<string> {
  const addresses = (await Promise.all(files.map(nameserversOf))).flat();
  return addresses.find((address) => !isLoopback(address)) ?? addresses[0] ?? "127.0.0.1";
}

/** Whether an IPv4 address means the host itself. */
export function isLoopback(address: string): boolean {
  return address.startsWith("127.");
}

/** The IPv4 addresses after `nameserver` in a resolv.conf(5) file; none when the file is missing. */
export async function nameserversOf(file: string): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text
    .split("\n")
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? "")
    .filter((address) => parseIpv4(address) !== undefined && address !== "0.0.0.0");
}

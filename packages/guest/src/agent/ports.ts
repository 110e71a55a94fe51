import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { ListeningPort } from "@dormouse/contract/guest-schemas";

/** What begins to listen is told within a second, also when the look itself takes a while. */
const pollMs = 700;
const listenState = "0A";

/** Enough to tell programs apart. */
const commandLineLength = 1024;

/** Whose a socket is. */
interface Owner {
  pid: number;
  process: string | null;
  commandLine: string | null;
}

interface Listener {
  port: number;
  address: string;
  inode: string;
}

/** `ports.*`: what listens on TCP in the machine. */
export type PortService = ReturnType<typeof createPortService>;

/**
 * Looks at the kernel's tables, more than once a second and only while somebody watches.
 * @param root whose processes are looked at for a port's owner.
 * @param isOwn says which sockets are the agent's and are left out.
 */
export function createPortService(root: string, isOwn: (port: number, address: string) => boolean) {
  const owners = new Map<string, Owner>();

  const list = (): ListeningPort[] => {
    const listeners = readListeners().filter(({ port, address }) => !isOwn(port, address));
    const unknown = new Set(listeners.map(({ inode }) => inode).filter((inode) => !owners.has(inode)));
    if (unknown.size > 0) findOwners(root, unknown, owners);
    const alive = new Set(listeners.map(({ inode }) => inode));
    for (const inode of owners.keys()) if (!alive.has(inode)) owners.delete(inode);
    const ports = new Map<number, ListeningPort>();
    for (const { port, address, inode } of listeners) {
      const known = ports.get(port);
      // One entry a port: of several sockets the one that listens most widely.
      if (known && width(known.address) >= width(address)) continue;
      const { pid = null, process = null, commandLine = null } = owners.get(inode) ?? {};
      ports.set(port, { port, address, pid, process, commandLine });
    }
    return [...ports.values()].sort((a, b) => a.port - b.port);
  };

  return {
    list,

    async *watch(signal?: AbortSignal): AsyncGenerator<{ opened: ListeningPort[]; closed: ListeningPort[] }> {
      let before = list();
      yield { opened: before, closed: [] };
      while (!signal?.aborted) {
        // An abort ends the wait, and the loop with it.
        await delay(pollMs, undefined, { signal, ref: false }).catch(() => {});
        const now = list();
        const key = ({ port, address, pid }: ListeningPort) => `${port} ${address} ${pid}`;
        const keysBefore = new Set(before.map(key));
        const keysNow = new Set(now.map(key));
        const opened = now.filter((port) => !keysBefore.has(key(port)));
        const closed = before.filter((port) => !keysNow.has(key(port)));
        before = now;
        if (opened.length + closed.length > 0 && !signal?.aborted) yield { opened, closed };
      }
    },
  };
}

function width(address: string): number {
  if (address === "0.0.0.0" || address === "::") return 2;
  return address.startsWith("127.") || address === "::1" ? 0 : 1;
}

/** The machine has one network for agent and user, so the agent's own tables are the user's too. */
function readListeners(): Listener[] {
  const listeners: Listener[] = [];
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of readFileSync(file, "latin1").split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] !== listenState) continue;
      const [hex = "", portHex = ""] = (fields[1] ?? "").split(":");
      listeners.push({ port: Number.parseInt(portHex, 16), address: addressOf(hex), inode: fields[9] ?? "" });
    }
  }
  return listeners;
}

/** Addresses stand in 32-bit words of the machine's byte order. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, "hex");
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.subarray(0, 12).equals(mappedPrefix)) return bytes.subarray(12).join(".");
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  // The longest run of zeros is all that is shortened, and the whole address is the common case.
  return words.join(":").replace(/(?:^|:)0(?::0)+(?::|$)/, "::");
}

const mappedPrefix = Buffer.from("00000000000000000000ffff", "hex");

function findOwners(root: string, inodes: Set<string>, owners: Map<string, Owner>): void {
  for (const name of readdirSync(`${root}/proc`)) {
    if (inodes.size === 0) return;
    if (!/^\d+$/.test(name)) continue;
    try {
      for (const fd of readdirSync(`${root}/proc/${name}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`${root}/proc/${name}/fd/${fd}`))?.[1];
        if (!inode || !inodes.delete(inode)) continue;
        const comm = readFileSync(`${root}/proc/${name}/comm`, "utf8").trim();
        const words = readFileSync(`${root}/proc/${name}/cmdline`, "utf8").split("\0").join(" ").trim();
        const commandLine = words.slice(0, commandLineLength) || null;
        // Threads are named too, and Node names the one that a process begins with.
        const program = /^[^ ]*?([^/ ]+?):?( |$)/.exec(words)?.[1];
        owners.set(inode, { pid: Number(name), process: program || comm || null, commandLine });
      }
    } catch {
      // The process, or that descriptor of it, has gone meanwhile.
    }
  }
}

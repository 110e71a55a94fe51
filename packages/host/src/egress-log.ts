import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import { type EgressHour, type EgressRefusal, egressHour, egressRefusal } from "@dormouse/contract";
import type { Refusal, SlotPool } from "@dormouse/network";
import { z } from "zod";
import { Watchers } from "./watchers.ts";

/** Places that are remembered for one workspace; the one refused longest ago goes first. */
const maxPlaces = 200;
/** Hours in which something was refused, for one workspace. */
const maxHours = 48;
const hourMs = 3_600_000;
/** The same place is told anew after this. */
const tellAgainMs = 60_000;
/** What was refused since is lost with a daemon that is killed. */
const writeAfterMs = 2_000;
const suffix = ".json";

const kept = z.object({ version: z.literal(1), places: z.array(egressRefusal), hours: z.array(egressHour) });

interface Place {
  refusal: EgressRefusal;
  toldMs: number;
}

interface OfWorkspace {
  /** The last one last. */
  places: Map<string, Place>;
  /** When an hour began, and how much was refused in it. */
  hours: Map<number, number>;
}

/**
 * What was refused to workspaces' machines, counted by place and by hour. A file for each workspace, bounded, so that it
 * outlives the daemon.
 */
export class EgressLog {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #workspaces = new Map<string, OfWorkspace>();
  readonly #watchers = new Watchers<{ workspaceId: string; refusal: EgressRefusal }>();
  readonly #changed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** Files are written and removed one after the other. */
  #writing = Promise.resolve();
  #stop = () => {};

  private constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Reads what earlier daemons wrote. What cannot be read is left out and written anew. */
  static async open(folder: string, log: Logger): Promise<EgressLog> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const opened = new EgressLog(folder, log);
    for (const name of await readdir(folder)) {
      if (!name.endsWith(suffix)) {
        await rm(join(folder, name), { force: true });
        continue;
      }
      try {
        const { places, hours } = kept.parse(JSON.parse(await readFile(join(folder, name), "utf8")));
        opened.#workspaces.set(name.slice(0, -suffix.length), {
          places: new Map(places.map((refusal) => [keyOf(refusal), { refusal, toldMs: Date.parse(refusal.lastAt) }])),
          hours: new Map(hours.map(({ at, count }) => [Date.parse(at), count])),
        });
      } catch (error) {
        log.warn("what was refused to a workspace cannot be read and begins anew", { name, error });
      }
    }
    return opened;
  }

  /** Counts from now on. */
  follow(egress: Pick<SlotPool["egress"], "onRefused">, workspaceIn: (slotIndex: number) => string | undefined): void {
    this.#stop();
    this.#stop = egress.onRefused((refusal) => {
      const workspaceId = workspaceIn(refusal.slotIndex);
      if (workspaceId !== undefined) this.#add(workspaceId, refusal);
    });
  }

  /** Places, the last refused first; hours, the oldest first. */
  of(workspaceId: string): { refusals: EgressRefusal[]; hours: EgressHour[] } {
    const { places, hours } = this.#workspaces.get(workspaceId) ?? empty();
    return {
      refusals: [...places.values()].map(({ refusal }) => refusal).reverse(),
      hours: [...hours].map(([atMs, count]) => ({ at: new Date(atMs).toISOString(), count })),
    };
  }

  watch(signal?: AbortSignal): AsyncGenerator<{ workspaceId: string; refusal: EgressRefusal }> {
    return this.#watchers.follow(() => [], signal);
  }

  async forget(workspaceId: string): Promise<void> {
    this.#workspaces.delete(workspaceId);
    this.#changed.add(workspaceId);
    await this.#write();
  }

  /** Forgets all workspaces but these. */
  async retain(workspaceIds: Iterable<string>): Promise<void> {
    const wanted = new Set(workspaceIds);
    for (const id of [...this.#workspaces.keys()]) if (!wanted.has(id)) await this.forget(id);
  }

  async close(): Promise<void> {
    this.#stop();
    this.#watchers.close();
    await this.#write();
  }

  #add(workspaceId: string, { slotIndex: _, atMs, ...place }: Refusal): void {
    const ofWorkspace = this.#workspaces.get(workspaceId) ?? empty();
    this.#workspaces.set(workspaceId, ofWorkspace);
    const { places, hours } = ofWorkspace;
    const key = keyOf(place);
    const known = places.get(key);
    const at = new Date(atMs).toISOString();
    const refusal: EgressRefusal = {
      ...place,
      firstAt: known?.refusal.firstAt ?? at,
      lastAt: at,
      count: (known?.refusal.count ?? 0) + 1,
      bytes: (known?.refusal.bytes ?? 0) + place.bytes,
      rule: ruleFor(place),
    };
    const isDue = !known || atMs - known.toldMs >= tellAgainMs;
    places.delete(key);
    places.set(key, { refusal, toldMs: isDue ? atMs : known.toldMs });
    dropFirst(places, maxPlaces);
    const hour = atMs - (atMs % hourMs);
    hours.set(hour, (hours.get(hour) ?? 0) + 1);
    for (const each of hours.keys()) if (each <= hour - maxHours * hourMs) hours.delete(each);
    dropFirst(hours, maxHours);
    this.#changed.add(workspaceId);
    this.#timer ??= setTimeout(() => void this.#write(), writeAfterMs).unref();
    if (isDue) this.#watchers.publish({ workspaceId, refusal });
  }

  #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(async () => {
      for (const workspaceId of [...this.#changed]) {
        this.#changed.delete(workspaceId);
        await this.#writeOne(workspaceId).catch((error: unknown) => {
          // It is still in memory, and written with the next change.
          this.#log.warn("what was refused to a workspace cannot be written", { workspaceId, error });
        });
      }
    });
    return this.#writing;
  }

  async #writeOne(workspaceId: string): Promise<void> {
    const path = join(this.#folder, `${workspaceId}${suffix}`);
    if (!this.#workspaces.has(workspaceId)) return await rm(path, { force: true });
    const { refusals, hours } = this.of(workspaceId);
    await writeFileAtomic(path, JSON.stringify({ version: 1, places: refusals.reverse(), hours }), { mode: 0o600 });
  }
}

function empty(): OfWorkspace {
  return { places: new Map(), hours: new Map() };
}

function keyOf({ name, address, port, protocol }: Pick<Refusal, "name" | "address" | "port" | "protocol">): string {
  return `${name ?? address} ${protocol} ${port}`;
}

function dropFirst(map: Map<unknown, unknown>, size: number): void {
  for (const key of map.keys()) {
    if (map.size <= size) return;
    map.delete(key);
  }
}

/** What a person would have to allow. */
function ruleFor({ name, address, port, protocol, reason }: Omit<Refusal, "slotIndex" | "atMs">): string | null {
  // What is denied stays so; and a name behind which a private address stands is not helped by allowing the name.
  if (reason.startsWith("denied") || reason.includes("private") || reason.includes("cap")) return null;
  if (protocol === "dns") return name;
  if (address === null || protocol === "other") return null;
  if (protocol === "icmp") return `icmp:${address}`;
  if (name !== null && protocol === "tcp" && (port === 80 || port === 443)) return name;
  return `${protocol}:${name ?? address}:${port}`;
}

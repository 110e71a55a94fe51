import type { EgressRefusal } from "@dormouse/contract";
import type { Refusal, SlotPool } from "@dormouse/network";
import { Watchers } from "./watchers.ts";

/** Places that are remembered for one workspace; the one refused longest ago goes first. */
const maxPlaces = 200;
/** The same place is told anew after this. */
const tellAgainMs = 60_000;

interface Place {
  refusal: EgressRefusal;
  toldMs: number;
}

/**
 * What was refused to workspaces' machines, counted by place. In memory only: a daemon that starts again begins with none.
 */
export class EgressLog {
  readonly #places = new Map<string, Map<string, Place>>();
  readonly #watchers = new Watchers<{ workspaceId: string; refusal: EgressRefusal }>();
  readonly #stop: () => void;

  constructor(egress: Pick<SlotPool["egress"], "onRefused">, workspaceIn: (slotIndex: number) => string | undefined) {
    this.#stop = egress.onRefused((refusal) => {
      const workspaceId = workspaceIn(refusal.slotIndex);
      if (workspaceId !== undefined) this.#add(workspaceId, refusal);
    });
  }

  /** The last first. */
  of(workspaceId: string): EgressRefusal[] {
    return [...(this.#places.get(workspaceId)?.values() ?? [])].map(({ refusal }) => refusal).reverse();
  }

  watch(signal?: AbortSignal): AsyncGenerator<{ workspaceId: string; refusal: EgressRefusal }> {
    return this.#watchers.follow(() => [], signal);
  }

  forget(workspaceId: string): void {
    this.#places.delete(workspaceId);
  }

  close(): void {
    this.#stop();
    this.#watchers.close();
  }

  #add(workspaceId: string, { slotIndex: _, atMs, ...place }: Refusal): void {
    const places = this.#places.get(workspaceId) ?? new Map<string, Place>();
    this.#places.set(workspaceId, places);
    const key = `${place.name ?? place.address} ${place.protocol} ${place.port}`;
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
    const [oldest] = places.keys();
    if (places.size > maxPlaces && oldest !== undefined) places.delete(oldest);
    if (isDue) this.#watchers.publish({ workspaceId, refusal });
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

/** Addresses of one slot's names are remembered for at least so long: clients keep them a little longer than they should. */
const minLifeMs = 60_000;
const maxNames = 1_024;
const maxAddressesOfName = 64;

/**
 * What names resolved to for one machine: a connection that says a name has to go where that name led. Bounded; the names
 * asked for longest ago go first, and are asked for again when they are needed.
 */
export class ResolvedNames {
  /** Name → address → until when, in milliseconds. */
  readonly #names = new Map<string, Map<number, number>>();

  /** Remembers that a name resolved to these addresses. */
  add(name: string, addresses: readonly number[], ttlSeconds: number, nowMs: number): void {
    const known = this.#names.get(name) ?? new Map<number, number>();
    this.#names.delete(name);
    this.#names.set(name, known);
    const untilMs = nowMs + Math.max(minLifeMs, ttlSeconds * 1_000);
    for (const address of addresses) {
      known.delete(address);
      known.set(address, untilMs);
    }
    dropFirst(known, maxAddressesOfName);
    dropFirst(this.#names, maxNames);
  }

  /** Whether a name has lately resolved to an address. */
  leadsTo(name: string, address: number, nowMs: number): boolean {
    return (this.#names.get(name)?.get(address) ?? 0) > nowMs;
  }

  /** Names that led to an address, the last one first; also when that was longer ago. */
  namesOf(address: number): { name: string; untilMs: number }[] {
    const found: { name: string; untilMs: number }[] = [];
    for (const [name, addresses] of this.#names) {
      const untilMs = addresses.get(address);
      if (untilMs !== undefined) found.unshift({ name, untilMs });
    }
    return found;
  }

  /** All addresses that any name led to. */
  addresses(): Set<number> {
    return new Set([...this.#names.values()].flatMap((addresses) => [...addresses.keys()]));
  }
}

function dropFirst(map: Map<unknown, unknown>, size: number): void {
  for (const key of map.keys()) {
    if (map.size <= size) return;
    map.delete(key);
  }
}

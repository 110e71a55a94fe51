import type { AgentTokens } from "./agent-token.ts";
import type { GuestLink } from "./guest-link.ts";
import { addressOf, type Machine } from "./machine.ts";
import { environmentOf } from "./secrets.ts";

/** As long as a store may fail before it is given up, and some more. */
const fillingTimeoutMs = 180_000;

/**
 * Tells a machine what it is, and its agent a token of its own instead of the record's: the template's, or the one of its
 * last identity.
 */
export async function identify(
  machine: Machine,
  { guest, tokens }: { guest: GuestLink; tokens: AgentTokens },
): Promise<void> {
  const { token, salt } = tokens.create();
  // One whose memory is still on its way waits for each page that it needs.
  const options = machine.record.filling ? { timeoutMs: fillingTimeoutMs } : {};
  await guest.identify(addressOf(machine), { ...identityOf(machine), token }, options);
  Object.assign(machine.record, { token, tokenSalt: salt });
}

/** Tells a machine that runs what it is from now on, and changes nothing else: it keeps its token. */
export async function renewIdentity(machine: Machine, guest: GuestLink): Promise<void> {
  await guest.identify(addressOf(machine), { ...identityOf(machine), token: machine.record.token });
}

/** Has a machine's agent run what a first user has it run. */
export async function warmUp(
  machine: Machine,
  guest: GuestLink,
  options: { rounds: number; signal?: AbortSignal | undefined },
): Promise<void> {
  const { rounds, signal } = options;
  const identity = { ...identityOf(machine), token: machine.record.token };
  await guest.warm(addressOf(machine), identity, { rounds, ...(signal && { signal }) });
}

function identityOf({ record }: Machine) {
  const { hostname, folder, user, machineUuid, bootUuid } = record;
  return { hostname, folder, env: environmentOf(record), user, machineId: machineUuid, bootId: bootUuid };
}

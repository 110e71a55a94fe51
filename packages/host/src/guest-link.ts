import { randomBytes } from "node:crypto";
import { withTimeout } from "@dormouse/base";
import type { GuestActivity, SnapshotInfo } from "@dormouse/contract";
import { createGuestClient, type GuestClient, warmGuest } from "@dormouse/guest";
import { runCommand } from "./commands.ts";
import { fetchOver } from "./fetch-over.ts";
import type { GuestAddress } from "./guest-address.ts";

/** What makes a machine a workspace's own, beside the time and the entropy of the moment. */
export interface Identity {
  token: string;
  hostname: string;
  /** 32 hex characters. */
  machineId: string;
  /** A UUID. */
  bootId: string;
  env: Record<string, string>;
  folder: string;
  /** Whom processes run as; undefined: the machine's default user. */
  user: string | undefined;
}

/** What the host itself asks of agents. */
export interface GuestLink {
  /** Clock, entropy, names, token and environment, by the process starter; user processes go on afterwards. */
  identify(guest: GuestAddress, identity: Identity, options?: { timeoutMs?: number }): Promise<void>;
  /**
   * Makes the requests that a first user sends, again and again, so that the agent's engine has compiled what they run
   * through, the emulator has translated it, and its memory is there. The identity is the one that it has.
   */
  warm(guest: GuestAddress, identity: Identity, options: { rounds: number; signal?: AbortSignal }): Promise<void>;
  /** Has the agent give up memory that it does not use: what is kept next is smaller. One that does not answer is let be. */
  collectGarbage(guest: GuestAddress): Promise<void>;
  /** User processes stand still; with `sync` what they wrote is on disk. */
  freeze(guest: GuestAddress, options?: { sync: boolean }): Promise<void>;
  thaw(guest: GuestAddress): Promise<void>;
  /** What people want to know of a moment: its repository and its processes. Null what cannot be told quickly. */
  facts(guest: GuestAddress, folder: string): Promise<GuestFacts>;
  /** What keeps a machine in use that no request tells: terminals that write, commands that run. */
  activity(guest: GuestAddress): Promise<GuestActivity>;
}

/** Of {@link GuestLink.facts}. */
export type GuestFacts = Pick<SnapshotInfo, "git" | "processes">;

const identifyTimeoutMs = 30_000;
const warmTimeoutMs = 120_000;
const freezeTimeoutMs = 60_000;
const garbageTimeoutMs = 5_000;
const factsTimeoutMs = 5_000;
const activityTimeoutMs = 10_000;

/** Speaks to agents over the guest contract. */
export function createGuestLink(): GuestLink {
  const client = ({ address, port, token, connections }: GuestAddress, signal: AbortSignal) =>
    createGuestClient({ baseUrl: `http://${address}:${port}`, token, signal, fetch: fetchOver(connections) });
  return {
    async identify(guest, identity, { timeoutMs = identifyTimeoutMs } = {}) {
      await withTimeout("giving the machine its identity", timeoutMs, (signal) => identify(guest, identity, signal));
    },
    async warm(guest, identity, { rounds, signal: outer }) {
      const work = async (signal: AbortSignal) => {
        const { folder, env, user } = identity;
        await warmGuest(client(guest, signal), {
          baseUrl: `http://${guest.address}:${guest.port}`,
          token: guest.token,
          signal,
          folder,
          rounds,
          besides: async () => {
            await identify(guest, identity, signal);
            await runCommand(guest, { folder, env, user }, { command: "true" }, signal);
          },
        });
        await guest.spawner.freeze({ sync: false }, signal);
        await guest.spawner.thaw(Date.now, signal);
      };
      await withTimeout("warming the machine", warmTimeoutMs, work, outer);
    },
    async collectGarbage(guest) {
      const collect = (signal: AbortSignal) => client(guest, signal).machine.collectGarbage({});
      await withTimeout("collecting the agent's garbage", garbageTimeoutMs, collect).catch(() => {});
    },
    async freeze(guest, options = { sync: false }) {
      await withTimeout("letting the machine's processes stand still", freezeTimeoutMs, (signal) =>
        guest.spawner.freeze(options, signal),
      );
    },
    async facts(guest, folder) {
      const ask = async <T>(call: (client: GuestClient) => Promise<T>): Promise<T | null> =>
        // A machine that is busy or has no repository has a moment worth keeping all the same.
        withTimeout("asking the machine", factsTimeoutMs, (signal) => call(client(guest, signal))).catch(() => null);
      const [status, unpushed, metrics] = await Promise.all([
        ask((guest) => guest.git.status({ cwd: folder })),
        ask((guest) => guest.git.unpushed({ cwd: folder })),
        ask((guest) => guest.machine.metrics({})),
      ]);
      return {
        git: status && {
          branch: status.branch,
          head: status.head,
          changedFiles: status.files.length,
          unpushedCommits: unpushed?.commits ?? null,
          stashes: unpushed?.stashes ?? null,
        },
        processes: metrics?.processCount ?? null,
      };
    },
    async activity(guest) {
      return await withTimeout("asking for the machine's activity", activityTimeoutMs, (signal) =>
        client(guest, signal).machine.activity({}),
      );
    },
    async thaw(guest) {
      await withTimeout("letting the machine's processes go on", identifyTimeoutMs, (signal) =>
        guest.spawner.thaw(Date.now, signal),
      );
    },
  };
}

async function identify(guest: GuestAddress, identity: Identity, signal: AbortSignal): Promise<void> {
  const { token, hostname, machineId, bootId, env, folder, user } = identity;
  const content = JSON.stringify({ env, folder, user });
  const entropy = randomBytes(64);
  await guest.spawner.identify({ nowMs: Date.now, hostname, machineId, bootId, entropy, token, content }, signal);
}

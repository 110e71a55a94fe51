import { isDeepStrictEqual } from "node:util";
import { DormouseError, type Logger } from "@dormouse/base";
import type {
  EgressAttempt,
  EgressDecision,
  EgressLog as EgressLogView,
  EgressPolicy,
  EgressRefusal,
  MachineSecret,
} from "@dormouse/contract";
import type { SlotPool } from "@dormouse/network";
import { checkPolicy } from "@dormouse/network/policy";
import type { EgressLog } from "./egress-log.ts";
import type { GuestLink } from "./guest-link.ts";
import { renewIdentity } from "./identity.ts";
import type { LiveMachine } from "./live-machine.ts";
import { addressOf, type Machine } from "./machine.ts";
import type { Machines } from "./machines.ts";
import { hostsOf, secretsOf, setTrust, withoutValues } from "./secrets.ts";

/** What an {@link Outbound} works with. */
export interface OutboundOptions {
  machines: Machines;
  guest: GuestLink;
  egress: SlotPool["egress"];
  egressLog: EgressLog;
  log: Logger;
}

/** A machine's secrets, and the environment that has their placeholders. */
export interface SecretsChange {
  secrets: readonly MachineSecret[];
  env: Record<string, string>;
}

/** What may leave workspaces' machines, with which secrets, and what was refused to them. */
export class Outbound {
  readonly #options: OutboundOptions;

  /** Counts what is refused from now on. */
  constructor(options: OutboundOptions) {
    this.#options = options;
    const { egress, egressLog, machines } = options;
    egressLog.follow(egress, (slotIndex) => machines.workspaceIn(slotIndex));
  }

  /**
   * What may leave a workspace's machine from now on; it need not run. Not in turn with what else is asked: a policy that is
   * tightened must not wait for a snapshot.
   * @throws DormouseError `invalid_argument` with what is wrong with it, `not_found`; what was before holds then.
   */
  async setPolicy(workspaceId: string, policy: EgressPolicy): Promise<void> {
    await this.applyPolicy(this.#options.machines.find(workspaceId), policy);
  }

  /**
   * The secrets of a workspace's machine from now on; it need not run. What decides about its requests is changed at once, not
   * in turn with what else is asked; programs that are started afterwards find the environment.
   * @throws DormouseError `not_found`.
   */
  async setSecrets(workspaceId: string, next: SecretsChange): Promise<void> {
    const { guest, machines } = this.#options;
    const machine = machines.find(workspaceId);
    const { env, trusts } = machine.record;
    await this.applySecrets(machine, next);
    const isSame = isDeepStrictEqual([env, trusts ?? []], [next.env, hostsOf(machine.record)]);
    if (isSame) return;
    await machines.inTurn(workspaceId, async () => {
      const { live, record } = machine;
      if (!live || record.state !== "running") return;
      await this.bringTrust(machine, live);
      await renewIdentity(machine, guest);
    });
  }

  /** What was refused to a workspace's machine lately, and what went through its network. */
  async log(workspaceId: string): Promise<EgressLogView> {
    const { egress, egressLog, machines } = this.#options;
    const { live } = machines.find(workspaceId);
    return { ...egressLog.of(workspaceId), counters: live ? await egress.count(live.slotIndex) : null };
  }

  /** @throws DormouseError `unavailable` when the workspace has no running machine here. */
  async test(workspaceId: string, attempt: Required<EgressAttempt>): Promise<EgressDecision> {
    const { live } = this.#options.machines.find(workspaceId);
    if (!live) throw new DormouseError("unavailable", `the machine of ${workspaceId} does not run`);
    return await this.#options.egress.test(live.slotIndex, attempt);
  }

  /** What is refused from now on. */
  watch(signal?: AbortSignal): AsyncGenerator<{ workspaceId: string; refusal: EgressRefusal }> {
    return this.#options.egressLog.watch(signal);
  }

  /** As {@link setPolicy}, for who has the machine. */
  async applyPolicy(machine: Machine, egress: EgressPolicy): Promise<void> {
    checkPolicy(egress);
    await machine.live?.setEgress(egress);
    await this.#options.machines.change(machine, { egress });
  }

  /** What decides about its requests has other secrets, and the record another environment; the machine is not told. */
  async applySecrets(machine: Machine, { secrets, env }: SecretsChange): Promise<void> {
    machine.secrets = secrets;
    const record = { ...machine.record, secrets: withoutValues(secrets) };
    await machine.live?.setSecrets(secretsOf(record, secrets));
    await this.#options.machines.change(machine, { secrets: record.secrets, env });
  }

  /** Its drive has it trust its organisation's authority for the hosts of its secrets, and nothing when it has none. */
  async bringTrust(machine: Machine, live: LiveMachine): Promise<void> {
    const { machines, log } = this.#options;
    const { record } = machine;
    const hosts = hostsOf(record);
    if (isDeepStrictEqual(hosts, record.trusts ?? [])) return;
    const certificate = hosts.length > 0 ? live.authority(record.organisationId ?? "", hosts) : undefined;
    try {
      await setTrust(addressOf(machine), certificate);
      await machines.change(machine, { trusts: certificate ? hosts : null });
    } catch (error) {
      // Connections to these hosts fail in the machine; nothing else does.
      log.warn("a machine does not trust its authority", { workspaceId: record.workspaceId, error });
    }
  }

  /** Forgets what was refused to a workspace. */
  async forget(workspaceId: string): Promise<void> {
    await this.#options.egressLog.forget(workspaceId);
  }

  /** Forgets what was refused to workspaces that have no machine here any more. */
  async forgetOthers(): Promise<void> {
    const { egressLog, machines } = this.#options;
    await egressLog.retain(machines.workspaceIds());
  }

  /** Counts no longer, and writes what was counted. */
  async close(): Promise<void> {
    await this.#options.egressLog.close();
  }
}

import type { EgressAttempt, EgressDecision, EgressLayer, EgressLog, WorkspaceEgress } from "@dormouse/contract";
import type { Connection } from "./connection.ts";

/** What may leave a workspace. Changes take effect at once, also for connections that are open. */
export class Egress {
  readonly #connection: Connection;
  readonly #workspace: string;

  constructor(connection: Connection, workspaceId: string) {
    this.#connection = connection;
    this.#workspace = workspaceId;
  }

  /** The policy, the layers that it comes from, and what the repository asks for. */
  async show(): Promise<WorkspaceEgress> {
    return await this.#connection.api.egress.show({ workspace: this.#workspace });
  }

  /**
   * Replaces the workspace's own layer.
   * @throws DormouseError `invalid_argument` with the rule and what would be right.
   */
  async set(layer: EgressLayer): Promise<WorkspaceEgress> {
    return await this.#connection.api.egress.set({ workspace: this.#workspace, ...layer });
  }

  /** Allows places, each `[PROTOCOL:]HOST[:PORTS]` or `preset:NAME`. */
  async allow(...rules: string[]): Promise<WorkspaceEgress> {
    return await this.#connection.api.egress.allow({ workspace: this.#workspace, rules });
  }

  /** Denies places, whatever allows them. */
  async deny(...rules: string[]): Promise<WorkspaceEgress> {
    return await this.#connection.api.egress.deny({ workspace: this.#workspace, rules });
  }

  /** Where the workspace wanted to go and was not let, the last first and by the hour, and what went through its network. */
  async log(): Promise<EgressLog> {
    return await this.#connection.api.egress.log({ workspace: this.#workspace });
  }

  /** What would become of a connection; opens none. */
  async test(attempt: EgressAttempt): Promise<EgressDecision> {
    return await this.#connection.api.egress.test({ workspace: this.#workspace, ...attempt });
  }
}

import { personalOrganisation, type SecretInfo, type SetSecret } from "@dormouse/contract";
import { Connection, type ConnectionOptions } from "./connection.ts";

/**
 * Values that workspaces use and never have: in their environment stands a placeholder, which is replaced on the way to the
 * hosts that a secret names, and nowhere else.
 */
export class Secrets {
  readonly #connection: Connection;
  readonly #organisation: string;

  /** @param organisation whose they are; default: the connection's, else your own. */
  constructor(connection: Connection, organisation?: string) {
    this.#connection = connection;
    this.#organisation = organisation ?? connection.organisation ?? personalOrganisation;
  }

  /** With what options, environment and saved credentials say; see {@link Connection.open}. */
  static async open(options: ConnectionOptions = {}): Promise<Secrets> {
    return new Secrets(await Connection.open(options));
  }

  /** Without their values, which nobody reads again. */
  async list(): Promise<SecretInfo[]> {
    return (await this.#connection.api.secrets.list({ organisation: this.#organisation })).secrets;
  }

  /**
   * Sets a secret, as a whole. It holds at once in workspaces that run; a new variable is there for programs that are started
   * from then on.
   * @throws DormouseError `invalid_argument` with the field and what would be right.
   */
  async set(name: string, secret: SetSecret): Promise<SecretInfo> {
    return await this.#connection.api.secrets.set({ organisation: this.#organisation, name, ...secret });
  }

  /** Removes a secret. Connections on which it was used are cut at once. */
  async remove(name: string): Promise<void> {
    await this.#connection.api.secrets.remove({ organisation: this.#organisation, name });
  }
}

import { createHmac, randomBytes } from "node:crypto";

/** What an agent takes, and what it was made from. */
export interface AgentToken {
  token: string;
  /** Not secret: it stands in a snapshot's manifest, so that whoever has the secret finds the token again. */
  salt: string;
}

/** Makes agents' tokens. */
export interface AgentTokens {
  /** A new one, for a machine that gets its identity. */
  create(): AgentToken;
  /** The token of the agent in a snapshot. */
  of(salt: string): string;
}

/**
 * Tokens are HMACs of random salts. The agent in a snapshot takes the token that it had at that moment; every host of the
 * installation can tell it from the salt, and it need not be stored anywhere.
 */
export function createAgentTokens(secret: string): AgentTokens {
  const of = (salt: string) => createHmac("sha256", secret).update(`agent ${salt}`).digest("hex");
  return {
    of,
    create() {
      const salt = randomBytes(16).toString("hex");
      return { salt, token: of(salt) };
    },
  };
}

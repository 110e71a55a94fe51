import { createHash } from "node:crypto";
import { DormouseError } from "@dormouse/base";
import { fromRpcError, type InternalContract, type PortProtocol, type PortVisibility } from "@dormouse/contract";
import type { ContractRouterClient } from "@orpc/contract";
import type { PortCredentials } from "./headers.ts";
import type { PortOrigin } from "./origin.ts";

/** Who wants to open a port, and how. */
export interface PortVisit extends PortOrigin, PortCredentials {
  kind: "http" | "webSocket";
}

/** A port that may be opened, and where its machine is. */
export interface PortAccess {
  workspaceId: string;
  visibility: PortVisibility;
  protocol: PortProtocol;
  hostUrl: string;
  hostToken: string;
}

/** Asks control who may open a port. */
export interface PortAccessControl {
  /** Wakes the workspace when it sleeps. Errors are those of `openPort` of the internal contract. */
  open(visit: PortVisit): Promise<PortAccess>;
  /** Forgets an answer that turned out to be old. */
  forget(visit: PortVisit): void;
  /** Whether what was opened may go on; what control cannot say now counts as yes. Wakes nothing. */
  mayGoOn(visit: PortVisit): Promise<boolean>;
}

/** A port that was closed is reached for this long at most. */
const freshMs = 2_000;
const keptAnswers = 10_000;
const openTimeoutMs = 120_000;
const lookTimeoutMs = 10_000;

/** The {@link PortAccessControl} of control's internal contract. */
export function createPortAccess(client: ContractRouterClient<InternalContract>): PortAccessControl {
  const answers = new Map<string, { answer: Promise<PortAccess>; untilMs: number }>();
  return {
    open(visit) {
      const key = keyOf(visit);
      const kept = answers.get(key);
      if (kept && kept.untilMs > performance.now()) return kept.answer;
      if (answers.size >= keptAnswers) answers.clear();
      // Requests that come together share one question; its answer counts from when it was asked, as far as it can.
      const entry = { untilMs: Number.POSITIVE_INFINITY, answer: ask(visit, true, openTimeoutMs) };
      answers.set(key, entry);
      entry.answer.then(
        () => {
          entry.untilMs = performance.now() + freshMs;
        },
        () => {
          if (answers.get(key) === entry) answers.delete(key);
        },
      );
      return entry.answer;
    },
    forget: (visit) => void answers.delete(keyOf(visit)),
    async mayGoOn(visit) {
      try {
        await ask(visit, false, lookTimeoutMs);
        return true;
      } catch (error) {
        const { code } = DormouseError.from(error);
        return code !== "unauthenticated" && code !== "not_found" && code !== "permission_denied";
      }
    },
  };

  async function ask({ label, port, session, authorization, kind }: PortVisit, wakes: boolean, timeoutMs: number) {
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      return await client.openPort({ label, port, session, authorization, kind, wakes }, { signal });
    } catch (error) {
      throw fromRpcError(error);
    }
  }
}

/** Secrets are nobody's keys in memory either. */
export function keyOf({ label, port, session, authorization, kind }: PortVisit): string {
  return createHash("sha256")
    .update(JSON.stringify([label, port, session, authorization, kind]))
    .digest("base64");
}

import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { createServiceFetch } from "@dormouse/base/service-fetch";
import { fromRpcError, type InternalContract } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import type { ContractRouterClient } from "@orpc/contract";

/** Where a workspace's machine is, for one caller who may reach it. */
export interface Access {
  workspaceId: string;
  hostUrl: string;
  hostToken: string;
}

/** Asks control who may reach which workspace. */
export interface AccessControl {
  /**
   * Wakes the workspace when it sleeps.
   * @throws DormouseError `unauthenticated`, `not_found` (also without access), `failed_precondition`
   *   (failed or being deleted), `unavailable` (control is away).
   */
  resolve(headers: IncomingHttpHeaders, workspace: string): Promise<Access>;
  /** Whether what was opened may go on; what control cannot say now counts as yes. Wakes nothing. */
  mayGoOn(headers: IncomingHttpHeaders, workspace: string): Promise<boolean>;
  /** Forgets an answer that turned out to be old. */
  forget(access: Access): void;
}

/** A revoked key or session reaches a machine for this long at most. */
const freshMs = 3_000;
const keptAnswers = 10_000;
const resolveTimeoutMs = 120_000;
const lookTimeoutMs = 10_000;

/** Control's internal contract, as the gateway calls it. */
export type InternalClient = ContractRouterClient<InternalContract>;

/** Makes the {@link InternalClient}; nothing is connected yet. */
export function connectInternal(options: { internalUrl: string; internalToken: string }): InternalClient {
  const headers = { authorization: `Bearer ${options.internalToken}` };
  const send = createServiceFetch("the platform");
  const url = `${options.internalUrl}/rpc`;
  return createORPCClient(
    new RPCLink({ url, headers, fetch: (request, _init, { signal }) => send(request, { signal }) }),
  );
}

/** The {@link AccessControl} of control's internal contract. */
export function createAccessControl(client: InternalClient): AccessControl {
  const answers = new Map<string, { answer: Promise<Access>; untilMs: number; access?: Access }>();

  return {
    resolve(headers, workspace) {
      const { cookie, authorization } = headers;
      const key = createHash("sha256")
        .update(JSON.stringify([cookie, authorization, workspace]))
        .digest("base64");
      const kept = answers.get(key);
      if (kept && kept.untilMs > performance.now()) return kept.answer;
      if (answers.size >= keptAnswers) answers.clear();
      // Requests that come together share one question; its answer counts from when it was given.
      const entry: { answer: Promise<Access>; untilMs: number; access?: Access } = {
        untilMs: Number.POSITIVE_INFINITY,
        answer: client
          .resolve({ cookie, authorization, workspace }, { signal: AbortSignal.timeout(resolveTimeoutMs) })
          .then(
            (access) => {
              entry.untilMs = performance.now() + freshMs;
              entry.access = access;
              return access;
            },
            (error: unknown) => {
              if (answers.get(key) === entry) answers.delete(key);
              throw fromRpcError(error);
            },
          ),
      };
      answers.set(key, entry);
      return entry.answer;
    },
    async mayGoOn({ cookie, authorization }, workspace) {
      const signal = AbortSignal.timeout(lookTimeoutMs);
      try {
        await client.resolve({ cookie, authorization, workspace, wakes: false }, { signal });
        return true;
      } catch (error) {
        const { code } = fromRpcError(error);
        return code !== "unauthenticated" && code !== "not_found" && code !== "permission_denied";
      }
    },
    forget(access) {
      for (const [key, entry] of answers) if (entry.access === access) answers.delete(key);
    },
  };
}

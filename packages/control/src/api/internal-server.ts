import { timingSafeEqual } from "node:crypto";
import { createServer, type Server } from "node:http";
import { DormouseError, type Logger } from "@dormouse/base";
import { convertRpcErrors, internalContract } from "@dormouse/contract";
import { implement } from "@orpc/server";
import { RPCHandler } from "@orpc/server/node";
import type { ApiKeys } from "../accounts/api-keys.ts";
import type { Authenticator } from "../accounts/authenticate.ts";
import { hashSecret } from "../accounts/secrets.ts";
import type { SignInLink } from "../accounts/sign-in-links.ts";
import type { PortGate } from "../ports/gate.ts";
import type { WorkspaceService } from "../workspaces/service.ts";
import { respondError } from "./respond.ts";

/** The HTTP server of the internal contract, not yet listening. */
export function createInternalServer(options: {
  token: string;
  authenticator: Authenticator;
  workspaces: WorkspaceService;
  gate: PortGate;
  apiKeys: ApiKeys;
  administratorId: string;
  createSignInLink: (options: { userId: string; next?: string }) => Promise<SignInLink>;
  host: { url: string; token: string };
  log: Logger;
}): Server {
  const { token, authenticator, workspaces, gate, apiKeys, administratorId, createSignInLink, host, log } = options;
  const internal = implement(internalContract).use(({ next }) => convertRpcErrors(() => next()));
  const router = internal.router({
    resolve: internal.resolve.handler(async ({ input }) => {
      const actor = await authenticator.authenticate(input);
      const row = await (input.wakes ? workspaces.running : workspaces.find)(actor, input.workspace);
      return {
        userId: actor.userId,
        workspaceId: row.id,
        state: row.state,
        hostUrl: host.url,
        hostToken: host.token,
      };
    }),
    openPort: internal.openPort.handler(async ({ input }) => ({
      ...(await gate.open(input)),
      hostUrl: host.url,
      hostToken: host.token,
    })),
    portTicket: internal.portTicket.handler(async ({ input: { cookie, challenge, ...origin } }) => ({
      ticket: await gate.ticket(origin, { cookie }, challenge),
    })),
    enterPort: internal.enterPort.handler(async ({ input: { ticket, state, ...origin } }) =>
      toPortSession(await gate.enter(origin, { ticket, state })),
    ),
    enterPortByLink: internal.enterPortByLink.handler(async ({ input: { link, ...origin } }) =>
      toPortSession(await gate.enterByLink(origin, link)),
    ),
    signInLink: internal.signInLink.handler(async ({ input }) => {
      const { url, expiresAt } = await createSignInLink({ userId: administratorId, next: input.next });
      return { url, expiresAt: expiresAt.toISOString() };
    }),
    localKey: internal.localKey.handler(async ({ input }) => {
      const former = (await apiKeys.list(administratorId)).filter((key) => key.name === input.name);
      for (const { id } of former) await apiKeys.revoke(administratorId, id);
      const { key } = await apiKeys.create(administratorId, { name: input.name });
      return { key };
    }),
  });
  const handler = new RPCHandler(router);
  const expected = Buffer.from(hashSecret(`Bearer ${token}`));
  return createServer((request, response) => {
    const given = Buffer.from(hashSecret(request.headers.authorization ?? ""));
    if (!timingSafeEqual(given, expected)) {
      return respondError(response, new DormouseError("unauthenticated", "this is not the internal token"));
    }
    handler
      .handle(request, response, { prefix: "/rpc" })
      .then(({ matched }) => {
        if (!matched) respondError(response, new DormouseError("not_found", "there is no such internal call"));
      })
      .catch((error: unknown) => {
        log.error("an internal request failed", { error });
        respondError(response, error);
      });
  });
}

function toPortSession({ token, expiresAt }: { token: string; expiresAt: Date }) {
  return { token, expiresAt: expiresAt.toISOString() };
}

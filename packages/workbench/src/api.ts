import { apiContract, fromErrorBody, fromRpcError } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import type { ContractRouterClient } from "@orpc/contract";
import { OpenAPILink } from "@orpc/openapi-client/fetch";
import { ownFetch } from "./page/own-requests.ts";

/** The public API, with the session cookie of this page. Errors are DormouseErrors. */
export type Api = ContractRouterClient<typeof apiContract>;

/** The API of the origin this page came from. */
export function connectApi(): Api {
  const link = new OpenAPILink(apiContract, {
    url: new URL("/api", location.origin).href,
    fetch: (request, init) => ownFetch(request, init),
    customErrorResponseBodyDecoder: fromErrorBody,
    interceptors: [
      async (options) => {
        try {
          return await options.next();
        } catch (caught) {
          throw fromRpcError(caught);
        }
      },
    ],
  });
  return createORPCClient(link);
}

import { DormouseError } from "@dormouse/base";
import { apiContract, fromErrorBody, fromRpcError } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import type { ContractRouterClient } from "@orpc/contract";
import { OpenAPILink } from "@orpc/openapi-client/fetch";

/** The public API, with the session cookie of this page. Errors are DormouseErrors. */
export const api: ContractRouterClient<typeof apiContract> = createORPCClient(
  new OpenAPILink(apiContract, {
    url: new URL("/api", location.origin).href,
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
  }),
);

/** Calls a route outside of the contract, such as those that sign in; what it answers is as it came. */
export async function post(path: string, body: unknown): Promise<unknown> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  }).catch((caught) => {
    throw new DormouseError("unavailable", "Dormouse cannot be reached at the moment", { cause: caught });
  });
  if (response.ok) return await response.json();
  const refusal = DormouseError.fromJSON(await response.json().catch(() => undefined));
  throw refusal ?? new DormouseError("unknown", `the server answered ${response.status}`);
}

/** The one line that an error shows. */
export function messageOf(caught: unknown): string {
  return DormouseError.from(caught, "unknown").message;
}

/** Sends whoever is not signed in to the sign-in page and back. Tells whether it did. */
export function redirectIfSignedOut(caught: unknown): boolean {
  if (DormouseError.from(caught, "unknown").code !== "unauthenticated") return false;
  location.replace(`/signin?next=${encodeURIComponent(location.pathname)}`);
  return true;
}

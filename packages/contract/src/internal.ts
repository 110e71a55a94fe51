import { oc } from "@orpc/contract";
import { z } from "zod";
import { workspaceState } from "./api-schemas.ts";

/**
 * What control offers the gateway and the supervisor, at `/rpc` on its internal address with the
 * platform's internal token; never reachable from outside.
 */
export const internalContract = {
  /**
   * Who the credentials belong to and where the workspace's machine is. A hibernated
   * workspace is woken first; the call answers when it runs. `not_found` without access.
   */
  resolve: oc
    .input(z.object({ cookie: z.string().optional(), authorization: z.string().optional(), workspace: z.string() }))
    .output(
      z.object({
        userId: z.string(),
        workspaceId: z.string(),
        state: workspaceState,
        /** Base URL of the host's HTTP server, and the token it takes. */
        hostUrl: z.string(),
        hostToken: z.string(),
      }),
    ),
  /** A link that signs the administrator in, once, within 10 minutes. `next` is the path to go to afterwards. */
  signInLink: oc
    .input(z.object({ next: z.string().optional() }))
    .output(z.object({ url: z.string(), expiresAt: z.iso.datetime() })),
  /** An API key of the administrator for the tools of this machine. The former one of that name ends. */
  localKey: oc.input(z.object({ name: z.string().min(1).max(100) })).output(z.object({ key: z.string() })),
};
export type InternalContract = typeof internalContract;

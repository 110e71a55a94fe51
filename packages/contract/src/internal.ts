import { oc } from "@orpc/contract";
import { z } from "zod";
import { portVisibility, workspaceState } from "./api-schemas.ts";
import { portNumber, portProtocol } from "./ports.ts";

/** The origin that a port's request was made to, `<port>--<label>.<domain>`. */
const portOrigin = z.object({ label: z.string().max(63), port: portNumber });
/** What is given to one browser, for one port. */
const portSession = z.object({ token: z.string(), expiresAt: z.iso.datetime() });

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
    .input(
      z.object({
        cookie: z.string().optional(),
        authorization: z.string().optional(),
        workspace: z.string(),
        /** False: answers where the machine is or would be, and wakes nothing. */
        wakes: z.boolean().default(true),
      }),
    )
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
  /**
   * Who may open a port, and where its machine is. A sleeping workspace is woken first, unless its settings have it that such
   * requests do not (`failed_precondition`). `unauthenticated` when nobody is proven who might have access, `not_found`
   * when somebody is who has none, or when the port is not forwarded.
   */
  openPort: oc
    .input(
      portOrigin.extend({
        /** The port's own cookie. */
        session: z.string().max(200).optional(),
        /** An API key or a link's token. */
        authorization: z.string().max(4096).optional(),
        kind: z.enum(["http", "webSocket"]),
        /** False: only whether it may go on. */
        wakes: z.boolean(),
      }),
    )
    .output(
      z.object({
        workspaceId: z.string(),
        visibility: portVisibility,
        protocol: portProtocol,
        hostUrl: z.string(),
        hostToken: z.string(),
      }),
    ),
  /**
   * For somebody signed in at the platform: what their browser shows at the port's origin, once, within a minute. The
   * challenge is the SHA-256, in hex, of the state that the browser keeps for that origin (as PKCE, RFC 7636).
   */
  portTicket: oc
    .input(portOrigin.extend({ cookie: z.string().optional(), challenge: z.string().length(64) }))
    .output(z.object({ ticket: z.string() })),
  /** A ticket and the browser's own state for a session at the port's origin. `unauthenticated` for a wrong or used one. */
  enterPort: oc
    .input(portOrigin.extend({ ticket: z.string().max(200), state: z.string().max(200) }))
    .output(portSession),
  /** The same for a link's token. */
  enterPortByLink: oc.input(portOrigin.extend({ link: z.string().max(200) })).output(portSession),
  /** A link that signs the administrator in, once, within 10 minutes. `next` is the path to go to afterwards. */
  signInLink: oc
    .input(z.object({ next: z.string().optional() }))
    .output(z.object({ url: z.string(), expiresAt: z.iso.datetime() })),
  /** An API key of the administrator for the tools of this machine. The former one of that name ends. */
  localKey: oc.input(z.object({ name: z.string().min(1).max(100) })).output(z.object({ key: z.string() })),
};
export type InternalContract = typeof internalContract;

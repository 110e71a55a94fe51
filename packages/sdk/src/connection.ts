import { DormouseError } from "@dormouse/base";
import type { ApiContract, GuestContract } from "@dormouse/contract";
import { fromRpcError } from "@dormouse/contract/errors";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import type { ContractRouterClient } from "@orpc/contract";
import { OpenAPILink } from "@orpc/openapi-client/fetch";
import { environmentCredentials, readCredentials } from "#credentials";
import routes from "./api-routes.json" with { type: "json" };
import { Channel } from "./channel.ts";
import { type CallContext, createSender, type Sender } from "./http.ts";

/** Where the platform is and who calls. What is left out comes from the environment, then from the saved credentials. */
export interface ConnectionOptions {
  /** Base address, e.g. `https://dormouse.example`. Else DORMOUSE_URL, the saved one, or the page's origin. */
  url?: string;
  /** Else DORMOUSE_API_KEY or the saved one; in a page the session's cookie. */
  apiKey?: string;
  /** The organisation that is meant when none is named. Else DORMOUSE_ORG or the saved one, else the caller's own. */
  organisation?: string;
  /** How long an answer may take to begin, for calls that wait for nothing in particular; default 60 s. */
  requestTimeoutMs?: number;
}

/** The public API, typed by its contract. */
export type ApiClient = ContractRouterClient<ApiContract, CallContext>;

/** A machine's agent, typed by its contract. */
export type GuestClient = ContractRouterClient<GuestContract, CallContext>;

const defaultRequestTimeoutMs = 60_000;

/** One caller at one platform: the API, and the way to each workspace's machine. Holds nothing open by itself. */
export class Connection {
  /** Base address without a slash at its end. */
  readonly url: string;
  /** The REST API. Its errors are DormouseErrors. */
  readonly api: ApiClient;
  /** The organisation that is meant when none is named, by name or id; undefined: the caller's own. */
  readonly organisation: string | undefined;
  readonly #apiKey: string | undefined;
  readonly #requestTimeoutMs: number;
  readonly #send: Sender;

  constructor(options: { url: string; apiKey?: string; organisation?: string; requestTimeoutMs?: number }) {
    this.url = checkUrl(options.url);
    this.organisation = options.organisation;
    this.#apiKey = options.apiKey;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? defaultRequestTimeoutMs;
    this.#send = createSender({ apiKey: options.apiKey, requestTimeoutMs: this.#requestTimeoutMs });
    this.api = createORPCClient<ApiClient>(
      new OpenAPILink<CallContext>(routes as unknown as ApiContract, { url: `${this.url}/api`, ...this.#link() }),
    );
  }

  /**
   * A connection with what options, environment and saved credentials say.
   * @throws DormouseError `unauthenticated` saying how to sign in when there is no address or key.
   */
  static async open(options: ConnectionOptions = {}): Promise<Connection> {
    const environment = environmentCredentials();
    const url = options.url ?? environment.url;
    const apiKey = options.apiKey ?? environment.apiKey;
    const given = options.organisation ?? environment.organisation;
    if (url !== undefined && (apiKey !== undefined || isPage())) {
      return new Connection({ ...options, url, apiKey, organisation: given });
    }
    const saved = await readCredentials();
    // A key belongs to the address it was made at: it is never sent to another.
    const ofAddress = url === undefined || sameOrigin(url, saved?.url) ? saved : undefined;
    const savedKey = ofAddress?.apiKey;
    const organisation = given ?? ofAddress?.organisation;
    const chosen = { url: url ?? saved?.url, apiKey: apiKey ?? savedKey };
    if (chosen.url === undefined || chosen.apiKey === undefined) {
      throw new DormouseError(
        "unauthenticated",
        `no ${chosen.url === undefined ? "address and no key" : `key for ${chosen.url}`}: run \`dormouse login\`, ` +
          "or set DORMOUSE_URL and DORMOUSE_API_KEY",
      );
    }
    return new Connection({ ...options, url: chosen.url, apiKey: chosen.apiKey, organisation });
  }

  /** The agent of a workspace's machine, one HTTP request per call. A sleeping workspace is woken. */
  guest(workspaceId: string): GuestClient {
    return createORPCClient<GuestClient>(
      new RPCLink<CallContext>({ url: `${this.#guestUrl(workspaceId)}/rpc`, ...this.#link() }),
    );
  }

  /** The WebSocket to a workspace's agent, for streams. It connects when first used. */
  channel(workspaceId: string): Channel {
    return new Channel({
      url: `${this.#guestUrl(workspaceId)}/channel`.replace(/^http/, "ws"),
      apiKey: this.#apiKey,
      timeoutMs: this.#requestTimeoutMs,
    });
  }

  /** Sends a raw request to a workspace's file route; the answer may take `timeoutMs` to begin. */
  file(workspaceId: string, query: string, init: RequestInit, timeoutMs: number): Promise<Response> {
    return this.#send(new Request(`${this.#guestUrl(workspaceId)}/file?${query}`, init), { timeoutMs });
  }

  /**
   * Where the bytes of a workspace's port are, for a program that connects to them: a GET with these headers is answered
   * with `101 Switching Protocols`, or refused as any request.
   */
  tunnel(workspaceId: string, port: number): { url: string; headers: Record<string, string> } {
    return {
      url: `${this.#guestUrl(workspaceId)}/port/${port}`,
      headers: {
        ...(this.#apiKey !== undefined && { authorization: `Bearer ${this.#apiKey}` }),
        connection: "Upgrade",
        upgrade: "tcp",
      },
    };
  }

  #guestUrl(workspaceId: string): string {
    return `${this.url}/api/workspaces/${encodeURIComponent(workspaceId)}/guest`;
  }

  #link() {
    return {
      fetch: (request: Request, _init: unknown, { context }: { context: CallContext }) => this.#send(request, context),
      interceptors: [convertErrors],
    };
  }
}

async function convertErrors<T>({ next }: { next: () => Promise<T> }): Promise<T> {
  try {
    return await next();
  } catch (error) {
    throw fromRpcError(error);
  }
}

function checkUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== "http:" && parsed?.protocol !== "https:") {
    throw new DormouseError("invalid_argument", `url is ${url}: it must be an address such as http://127.0.0.1:7070`);
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, "")}`;
}

function sameOrigin(url: string, other: string | undefined): boolean {
  return (
    other !== undefined && URL.canParse(url) && URL.canParse(other) && new URL(url).origin === new URL(other).origin
  );
}

function isPage(): boolean {
  return typeof (globalThis as { document?: unknown }).document !== "undefined";
}

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { WebSocket } from "ws";

/** An answer, whole. */
export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
  /** Where it came from, after all redirects. */
  url: string;
}

/** As much of a browser as access needs: cookies by host, and redirects. Every name leads to one gateway. */
export class PortBrowser {
  readonly #port: number;
  readonly #cookies = new Map<string, Map<string, string>>();
  /** Sent with every request, as a program does. */
  headers: Record<string, string> = {};

  constructor(gatewayUrl: string) {
    this.#port = Number(new URL(gatewayUrl).port);
  }

  /** Takes cookies as a host set them. */
  keep(host: string, setCookies: readonly string[]): void {
    const jar = this.#cookies.get(host) ?? new Map<string, string>();
    this.#cookies.set(host, jar);
    for (const cookie of setCookies) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (/max-age=0/i.test(cookie)) jar.delete(name);
      else jar.set(name, value);
    }
  }

  cookieOf(host: string): string | undefined {
    const jar = [...(this.#cookies.get(host) ?? [])].map(([name, value]) => `${name}=${value}`);
    return jar.length > 0 ? jar.join("; ") : undefined;
  }

  /** Goes to an address as by a click. */
  async visit(url: string): Promise<Answer> {
    let at = url;
    for (let hop = 0; hop < 10; hop++) {
      const answer = await this.fetch(at, { headers: { accept: "text/html", "sec-fetch-mode": "navigate" } });
      if (answer.headers.location === undefined) return answer;
      at = new URL(answer.headers.location, at).href;
    }
    throw new Error(`${url} redirects without an end`);
  }

  /** One request, as a page's script or a program makes it. */
  async fetch(
    url: string,
    options: { method?: string; headers?: Record<string, string>; body?: string } = {},
  ): Promise<Answer> {
    const answer = await this.open(url, options);
    const text = Buffer.concat(await answer.toArray()).toString();
    return { status: answer.statusCode ?? 0, headers: answer.headers, text, url };
  }

  /** The answer, its body not yet read. */
  async open(url: string, options: { method?: string; headers?: Record<string, string>; body?: string } = {}) {
    const { host, pathname, search } = new URL(url);
    const outgoing = request({
      ...{ host: "127.0.0.1", port: this.#port, path: pathname + search, method: options.method ?? "GET" },
      headers: { ...this.#headersFor(host), ...options.headers },
      agent: false,
    });
    outgoing.end(options.body);
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    this.keep(host, answer.headers["set-cookie"] ?? []);
    return answer;
  }

  /** A WebSocket, or the status with which it was refused. */
  async socket(url: string, headers: Record<string, string> = {}): Promise<WebSocket | number> {
    const { host, pathname } = new URL(url);
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}${pathname}`, {
      headers: { origin: `http://${host}`, ...this.#headersFor(host), ...headers },
    });
    return await new Promise((resolve, reject) => {
      socket.once("open", () => resolve(socket));
      socket.once("unexpected-response", (_request, answer: IncomingMessage) => resolve(answer.statusCode ?? 0));
      socket.once("error", reject);
    });
  }

  #headersFor(host: string): Record<string, string> {
    const cookie = this.cookieOf(host);
    return { host, ...this.headers, ...(cookie !== undefined && { cookie }) };
  }
}

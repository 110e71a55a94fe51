import { lookup as lookUp } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { DormouseError } from "@dormouse/base";
import { isSpecial, parseIpv4 } from "@dormouse/network/policy";
import { Agent, type Dispatcher, request } from "undici";

/** An answer whose body has not been read yet. */
export type GalleryAnswer = Dispatcher.ResponseData;

/** Sends requests to a gallery, and to where it says that its files are. */
export interface GalleryFetch extends AsyncDisposable {
  /**
   * Redirects are followed. Who asks here is never said: no cookies, no tokens.
   * @throws DormouseError `unavailable` when there is no answer, `permission_denied` for an address that only servers
   *   inside a network reach, unless the gallery itself is there.
   */
  (
    url: string,
    options: { method?: "GET" | "POST"; headers?: Record<string, string>; body?: string; signal: AbortSignal },
  ): Promise<GalleryAnswer>;
}

const redirects = 5;
const redirectStatuses = new Set([301, 302, 303, 307, 308]);

/** Makes a {@link GalleryFetch}. Other places than `galleryUrl` are what the gallery names: only public ones are believed. */
export function createGalleryFetch(galleryUrl: string): GalleryFetch {
  const { origin } = new URL(galleryUrl);
  const own = new Agent();
  const elsewhere = new Agent({ connect: { lookup: lookUpPublic } });

  async function send(...[start, options]: Parameters<GalleryFetch>): Promise<GalleryAnswer> {
    const { method = "GET", body, headers, signal } = options;
    let address = start;
    for (let hop = 0; hop <= redirects; hop++) {
      const url = URL.parse(address);
      if (!url || !mayAsk(url, origin)) throw refusal(address);
      const dispatcher = url.origin === origin ? own : elsewhere;
      const sent = { method, body, signal, dispatcher, headers: { "user-agent": "Dormouse", ...headers } };
      const answer = await request(address, sent).catch((cause: unknown) => {
        if (cause instanceof DormouseError) throw cause;
        throw new DormouseError("unavailable", `the gallery's server ${url.host} does not answer`, { cause });
      });
      const { location } = answer.headers;
      if (!redirectStatuses.has(answer.statusCode) || typeof location !== "string") return answer;
      discard(answer);
      address = URL.parse(location, url.href)?.href ?? location;
    }
    throw new DormouseError("unavailable", `the gallery sends from ${start.slice(0, 200)} on and on`);
  }
  return Object.assign(send, {
    async [Symbol.asyncDispose]() {
      await Promise.all([own.destroy(), elsewhere.destroy()]);
    },
  });
}

/** What is read of an answer that nobody wants, before its connection is closed. */
const discardedBytes = 16 * 1024;

/** Lets an answer go whose body is not wanted. */
export function discard({ body }: GalleryAnswer): void {
  // Whether its end comes or not is nobody's business any more.
  body.dump({ limit: discardedBytes }).catch(() => {});
}

function mayAsk(url: URL, origin: string): boolean {
  if (url.origin === origin) return true;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return url.protocol === "https:" && url.username === "" && (isIP(host) === 0 || isPublic(host));
}

/** As `dns.lookup`, but a name that leads into a network leads nowhere. */
const lookUpPublic: LookupFunction = (hostname, options, callback) => {
  lookUp(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, []);
    if (!addresses.every(({ address }) => isPublic(address))) return callback(refusal(hostname), []);
    const [first] = addresses;
    if (options.all || !first) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};

const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");
/** Addresses that carry an IPv4 address: 6to4 and Teredo. */
const carried = new BlockList();
carried.addSubnet("2002::", 16, "ipv6");
carried.addSubnet("2001::", 32, "ipv6");

/** Whether an address is somebody's on the public internet. */
export function isPublic(address: string): boolean {
  const ipv4 = parseIpv4(address);
  if (ipv4 !== undefined) return !isSpecial(ipv4);
  return isIP(address) === 6 && globalUnicast.check(address, "ipv6") && !carried.check(address, "ipv6");
}

function refusal(place: string): DormouseError {
  return new DormouseError(
    "permission_denied",
    `the gallery leads to ${place.slice(0, 200)}, which is no public server reached by https: it is not asked`,
  );
}

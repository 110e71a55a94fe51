import { type Agent, type IncomingMessage, request } from "node:http";
import { Readable } from "node:stream";

/**
 * A `fetch` whose connections belong to one agent. Node's own keeps connections by
 * address, and the address of a machine that ended may be another machine's by now.
 */
export function fetchOver(connections: Agent): (input: Request) => Promise<Response> {
  return async (input) => {
    const body = Buffer.from(await input.arrayBuffer());
    const { method, signal } = input;
    const headers = { ...Object.fromEntries(input.headers), "content-length": String(body.length) };
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request(input.url, { method, headers, signal, agent: connections }, resolve);
      outgoing.on("error", reject);
      outgoing.end(body);
    });
    const answered = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) {
      for (const item of [value ?? []].flat()) answered.append(name, item);
    }
    const status = answer.statusCode ?? 502;
    // The Response may not hold a body where the status forbids one.
    const stream = status === 204 || status === 304 ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
    return new Response(stream, { status, headers: answered });
  };
}

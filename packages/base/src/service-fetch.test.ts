import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { createServiceFetch } from "./service-fetch.ts";

async function serve(answer: RequestListener) {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };
  return { url, close, [Symbol.asyncDispose]: close };
}

test("what cannot be reached is named, without its address", async () => {
  await using send = createServiceFetch("the platform");
  await using cut = await serve((request) => request.socket.destroy());
  const gone = await serve(() => {});
  await gone.close();
  for (const { url } of [cut, gone]) {
    const error = await send(new Request(url), { signal: undefined }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "unavailable", message: "the platform cannot be reached now" });
  }
});

test("a refusal is what the other side says", async () => {
  await using send = createServiceFetch("the platform");
  await using server = await serve((_, response) => {
    response.writeHead(404, { "content-type": "application/json" });
    response.end(JSON.stringify({ code: "not_found", message: "there is no such workspace", details: {} }));
  });
  await expect(send(new Request(server.url), { signal: undefined })).rejects.toMatchObject({
    code: "not_found",
    message: "there is no such workspace",
  });
});

test("whoever waits no longer hears of that, not of the other side", async () => {
  await using send = createServiceFetch("the platform");
  await using server = await serve(() => {});
  const reason = new Error("no time left");
  await expect(send(new Request(server.url), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const stop = new AbortController();
  const answer = send(new Request(server.url), { signal: stop.signal });
  setTimeout(() => stop.abort(reason), 20);
  await expect(answer).rejects.toBe(reason);
});

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createLogger } from "@dormouse/base";
import { expect, onTestFinished, test } from "vitest";
import { startDnsRelay } from "./dns-relay.ts";

const address = "127.0.0.1";
const logger = createLogger({ write: console.log });

/** Answers every question with its letters reversed, over UDP and TCP. */
async function startResolver(): Promise<number> {
  const reverse = (text: Buffer) => [...text.toString()].reverse().join("");
  const server = createServer({ allowHalfOpen: true }, (socket) =>
    socket.on("data", (data) => socket.end(reverse(data))),
  );
  server.listen(0, address);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const udp = createSocket("udp4", (message, from) => udp.send(reverse(message), from.port, from.address));
  udp.bind(port, address);
  await once(udp, "listening");
  onTestFinished(() => {
    udp.close();
    server.close();
  });
  return port;
}

async function ask(port: number, text: string): Promise<string> {
  const socket = createSocket("udp4");
  socket.send(text, port, address);
  const [answer] = await once(socket, "message");
  socket.close();
  return String(answer);
}

test("questions and answers pass over UDP, many at a time, each to who asked", async () => {
  await using relay = await startDnsRelay({ address, port: await startResolver() }, logger);
  const questions = Array.from({ length: 50 }, (_, index) => `question ${index}`);
  const answers = await Promise.all(questions.map((question) => ask(relay.port, question)));
  expect(answers).toEqual(questions.map((question) => [...question].reverse().join("")));
});

test("and over TCP, also when the client ends its side first", async () => {
  await using relay = await startDnsRelay({ address, port: await startResolver() }, logger);
  const socket = connect(relay.port, address);
  socket.end("large");
  let text = "";
  for await (const chunk of socket) text += chunk;
  expect(text).toBe("egral");
});

test("a resolver that is not there does no harm", async () => {
  const relay = await startDnsRelay({ address, port: 1 }, logger);
  const socket = connect(relay.port, address);
  await once(socket, "close");
  const udp = createSocket("udp4");
  udp.send("anyone?", relay.port, address);
  udp.close();
  await relay[Symbol.asyncDispose]();
  const refused = connect(relay.port, address);
  const [error] = await once(refused, "error");
  expect(error).toMatchObject({ code: "ECONNREFUSED" });
});

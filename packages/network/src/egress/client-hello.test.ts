import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { connect } from "node:tls";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isTls, readClientHello } from "./client-hello.ts";

/** The first bytes that a real client sends. */
async function helloOf(servername: string | undefined): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const client = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...(servername && { servername }) });
  client.on("error", () => {});
  const [socket] = await once(server, "connection");
  const [data] = await once(socket, "data");
  client.destroy();
  socket.destroy();
  server.close();
  return data;
}

test("a real client's name is read, whole and in pieces", async () => {
  const hello = await helloOf("registry.npmjs.org");
  expect(isTls(hello)).toBe(true);
  expect(readClientHello(hello)).toEqual({ kind: "complete", serverName: "registry.npmjs.org", mayHideAnother: false });
  // What follows it, such as early data, does not matter.
  expect(readClientHello(Buffer.concat([hello, Buffer.from([23, 3, 3, 0, 1, 0])]))).toMatchObject({ kind: "complete" });
  for (let length = 0; length < hello.length; length++) {
    expect(readClientHello(hello.subarray(0, length))).toEqual({ kind: "incomplete" });
  }
});

test("a browser's ClientHello is read by its visible name, and what may be encrypted in it is told", async () => {
  // Chromium 156's to https://allowed.test/, with GREASE in place of an Encrypted ClientHello.
  const hello = await readFile(new URL("../testing/chromium-client-hello.bin", import.meta.url));
  expect(readClientHello(hello)).toEqual({ kind: "complete", serverName: "allowed.test", mayHideAnother: true });
});

test("in however many records it comes, the name is the same", async () => {
  const hello = await helloOf("a.test");
  const handshake = hello.subarray(5);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 40 }), (sizes) => {
      const records: Buffer[] = [];
      for (let at = 0, index = 0; at < handshake.length; index++) {
        const part = handshake.subarray(at, at + (sizes[index % sizes.length] ?? 1));
        records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
        at += part.length;
      }
      expect(readClientHello(Buffer.concat(records))).toMatchObject({ kind: "complete", serverName: "a.test" });
    }),
  );
});

test("without a name, and with what is no ClientHello", async () => {
  expect(readClientHello(await helloOf(undefined))).toMatchObject({ kind: "complete", serverName: undefined });
  expect(isTls(Buffer.from("GET / HTTP/1.1\r\n"))).toBe(false);
  expect(readClientHello(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]))).toEqual({ kind: "malformed" });
  expect(readClientHello(Buffer.from([22, 3, 1, 0, 0]))).toEqual({ kind: "malformed" });
  expect(readClientHello(Buffer.from([22, 3, 1, 255, 255]))).toEqual({ kind: "malformed" });
});

test("whatever bytes are changed, it is read or refused, and never another name out of nothing", async () => {
  const hello = await helloOf("a.test");
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { maxLength: 8 }), (changes) => {
      const changed = Buffer.from(hello);
      for (const [at, value] of changes) changed[at] = value;
      const read = readClientHello(changed);
      expect(["complete", "incomplete", "malformed"]).toContain(read.kind);
      if (read.kind === "complete" && read.serverName !== undefined) {
        expect(changed.includes(Buffer.from(read.serverName, "latin1"))).toBe(true);
      }
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(readClientHello(Buffer.from(bytes)).kind).toBeTypeOf("string");
    }),
  );
});

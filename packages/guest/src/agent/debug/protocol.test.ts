import { describe, expect, it } from "vitest";
import { type DapMessage, dapReader, encodeDap } from "./protocol.ts";

const messages: DapMessage[] = [
  { seq: 1, type: "request", command: "initialize", arguments: { adapterID: "ö → 🐭" } },
  { seq: 2, type: "event", event: "initialized" },
  { seq: 3, type: "response", request_seq: 1, success: true, command: "initialize", body: { big: "x".repeat(70_000) } },
];
const bytes = Buffer.concat(messages.map(encodeDap));

describe("the protocol's framing", () => {
  it.each([1, 7, 1000, bytes.length])("is read in pieces of %i bytes", (size) => {
    const read: DapMessage[] = [];
    const take = dapReader((message) => read.push(message));
    for (let at = 0; at < bytes.length; at += size) take(bytes.subarray(at, at + size));
    expect(read).toEqual(messages);
  });

  it("counts bytes, not characters", () => {
    const [header, body = ""] = encodeDap(messages[0] as DapMessage)
      .toString()
      .split("\r\n\r\n");
    expect(header).toBe(`Content-Length: ${body.length + 1 + 2 + 2}`);
  });

  it.each([
    ["Python 3.11.2\n".repeat(400), "Python 3.11.2"],
    ["Content-Length: many\r\n\r\n{}", "Content-Length: many"],
    [`Content-Length: ${10 ** 9}\r\n\r\n`, "Content-Length: 1000000000"],
    ["Content-Length: 2\r\n\r\n{}", "{}"],
    ["Content-Length: 3\r\n\r\n{,}", "{,}"],
  ])("refuses what is not the protocol: %#", (text, told) => {
    const take = dapReader(() => {});
    expect(() => take(Buffer.from(text))).toThrow(`the debug adapter does not speak its protocol: "${told}`);
  });
});

import { describe, expect, it } from "vitest";
import { bytesToPath, pathToBytes } from "./byte-path.ts";

describe("names of files as text", () => {
  it("keeps UTF-8 as it is", () => {
    expect(bytesToPath(Buffer.from("/grüße/🐭"))).toBe("/grüße/🐭");
    expect(pathToBytes("/grüße/🐭")).toEqual(Buffer.from("/grüße/🐭"));
  });

  it("carries every other byte as a lone surrogate, as Python does", () => {
    expect(bytesToPath(Buffer.from([0x61, 0xff, 0x62]))).toBe("a\udcffb");
    // An overlong form, half a character, a surrogate written out: none of them is UTF-8.
    for (const bytes of [
      [0xc0, 0xaf],
      [0xe2, 0x82],
      [0xed, 0xb2, 0x80],
      [0xf5, 0x80, 0x80, 0x80],
    ]) {
      expect(pathToBytes(bytesToPath(Buffer.from(bytes)))).toEqual(Buffer.from(bytes));
    }
  });

  it("gives back any bytes at all", () => {
    let state = 20261122;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    };
    for (let round = 0; round < 2000; round++) {
      // Bytes in and around UTF-8's lead and continuation bytes are the interesting ones.
      const bytes = Buffer.from(
        Array.from({ length: next() % 12 }, () => (next() % 2 ? next() : 0xc0 | (next() & 0x3f))),
      );
      const text = bytesToPath(bytes);
      expect(pathToBytes(text), bytes.toString("hex")).toEqual(bytes);
      expect(JSON.parse(JSON.stringify(text)), bytes.toString("hex")).toBe(text);
    }
  });
});

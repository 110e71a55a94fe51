import { expect, test } from "vitest";
import { encodePath, fromBase64, OutputTail, toBase64 } from "./bytes.ts";

test("base64 there and back, also of a part of a buffer", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
  expect(fromBase64(toBase64(bytes.subarray(3, 200)))).toEqual(Buffer.from(bytes.subarray(3, 200)));
});

test("paths are percent-encoded bytes, also those that are not UTF-8", () => {
  expect(encodePath("/a b/ü?&#%")).toBe("%2Fa%20b%2F%C3%BC%3F%26%23%25");
  expect(encodePath("/caf\uDCE9")).toBe("%2Fcaf%e9");
  expect(encodePath("/😀\uDCFF")).toBe("%2F%F0%9F%98%80%ff");
  // A lone surrogate that stands for no byte cannot be a name.
  expect(encodePath("\uD800")).toBe("%EF%BF%BD");
});

test("of long output the end is kept, and that something is missing is told", () => {
  const tail = new OutputTail(4);
  tail.append(Buffer.from("abc"));
  expect(tail.dropped).toBe(false);
  for (const letter of "defghijkl") tail.append(Buffer.from(letter));
  expect(tail.dropped).toBe(true);
  expect(tail.text()).toBe("ijkl");
  expect(tail.dropped).toBe(true);
  expect(new OutputTail(4).text()).toBe("");
});

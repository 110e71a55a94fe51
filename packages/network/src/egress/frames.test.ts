import fc from "fast-check";
import { expect, test } from "vitest";
import { type Frame, frameReader } from "./frames.ts";

test("messages come out as they went in, however the stream is cut", () => {
  const message = fc.record({ kind: fc.nat(9), id: fc.nat(1 << 30), payload: fc.uint8Array({ maxLength: 50 }) });
  fc.assert(
    fc.property(fc.array(message), fc.integer({ min: 1, max: 40 }), (messages, step) => {
      const bytes = Buffer.concat(
        messages.map(({ kind, id, payload }) => {
          const head = Buffer.alloc(12);
          for (const [index, value] of [payload.length, kind, id].entries()) head.writeUInt32LE(value, 4 * index);
          return Buffer.concat([head, payload]);
        }),
      );
      const taken: Frame[] = [];
      const read = frameReader((frame) => taken.push({ ...frame, payload: Buffer.from(frame.payload) }));
      for (let at = 0; at < bytes.length; at += step) read(bytes.subarray(at, at + step));
      expect(taken).toEqual(messages.map((each) => ({ ...each, payload: Buffer.from(each.payload) })));
    }),
  );
});

import { describe, expect, it } from "vitest";
import { createOutputLog } from "./output-log.ts";

describe("the log of a process's output", () => {
  it("is read from any offset, also inside of a piece", () => {
    const log = createOutputLog<"out" | "err">(1000);
    log.append("out", Buffer.from("hello "));
    log.append("err", Buffer.from("oops"));
    log.append("out", Buffer.from("world"));
    expect(log.next(0)).toMatchObject({ stream: "out", offset: 0 });
    expect(log.next(8)).toEqual({ stream: "err", offset: 8, bytes: Buffer.from("ps") });
    expect(log.next(10)?.bytes.toString()).toBe("world");
    expect(log.next(15)).toBeUndefined();
    expect(log.collect("out").toString()).toBe("hello world");
  });

  it("drops the beginning of the stream that is too long, and keeps the other", () => {
    const log = createOutputLog<"out" | "err">(40_000);
    log.append("err", Buffer.from("kept"));
    for (let round = 0; round < 20; round++) log.append("out", Buffer.alloc(10_000, round));
    expect(log.collect("err").toString()).toBe("kept");
    expect(log.collect("out")).toEqual(Buffer.concat([16, 17, 18, 19].map((fill) => Buffer.alloc(10_000, fill))));
    expect(log.hasDropped("out")).toBe(true);
    expect(log.hasDropped("err")).toBe(false);
    expect(log.keptBytes).toBeLessThan(50_000);
    // Who had read the first 4 bytes finds the gap.
    expect(log.next(4)?.offset).toBeGreaterThan(100_000);
  });

  it("wakes who waits, and lets go of who leaves", async () => {
    const log = createOutputLog<"out">(1000);
    const waiting = log.changed();
    log.append("out", Buffer.from("x"));
    await waiting;
    const leaving = new AbortController();
    const left = log.changed(leaving.signal);
    leaving.abort();
    await left;
  });
});

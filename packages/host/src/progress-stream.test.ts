import { sleep } from "@dormouse/base";
import { expect, test } from "vitest";
import { progressStream } from "./progress-stream.ts";

test("the newest line of each moment is yielded, then the result", async () => {
  const stream = progressStream(async (progress) => {
    progress({ step: "pull", state: "started", message: "one" });
    await sleep(5);
    progress({ step: "pull", state: "running", message: "two", fraction: 0.5 });
    progress({ step: "pull", state: "running", message: "three", fraction: 0.75 });
    return 7;
  });
  expect(await stream.next()).toEqual({ done: false, value: { step: "pull", message: "one" } });
  expect(await stream.next()).toEqual({ done: false, value: { step: "pull", message: "three", fraction: 0.75 } });
  expect(await stream.next()).toEqual({ done: true, value: 7 });
});

test("what fails is thrown after the lines before it", async () => {
  const stream = progressStream(async (progress) => {
    progress({ step: "pull", state: "started", message: "one" });
    progress({ step: "pull", state: "failed", message: "no line of its own" });
    throw new Error("no such image");
  });
  expect(await stream.next()).toMatchObject({ value: { message: "one" } });
  await expect(stream.next()).rejects.toThrow("no such image");
});

test("whoever stops listening ends the work", async () => {
  let ended: unknown;
  const stream = progressStream(async (progress, signal) => {
    progress({ step: "pull", state: "started", message: "one" });
    await sleep(60_000, signal).catch((error: unknown) => {
      ended = error;
    });
  });
  await stream.next();
  await stream.return(undefined);
  await sleep(1);
  expect(ended).toBeDefined();
});

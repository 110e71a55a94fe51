import { expect, it } from "vitest";
import { Watchers } from "./watchers.ts";

it("gives what is, then what comes, to each follower, until it closes", async () => {
  const watchers = new Watchers<number>();
  const gather = async () => {
    const seen: number[] = [];
    for await (const event of watchers.follow(() => [1, 2])) seen.push(event);
    return seen;
  };
  const both = [gather(), gather()];
  await new Promise((resolve) => setImmediate(resolve));
  watchers.publish(3);
  await new Promise((resolve) => setImmediate(resolve));
  watchers.close();
  expect(await Promise.all(both)).toEqual([
    [1, 2, 3],
    [1, 2, 3],
  ]);
});

it("ends a follower with its signal", async () => {
  const watchers = new Watchers<number>();
  const controller = new AbortController();
  const follower = watchers.follow(() => [1], controller.signal);
  expect(await follower.next()).toEqual({ value: 1, done: false });
  const next = follower.next();
  controller.abort();
  expect((await next).done).toBe(true);
});

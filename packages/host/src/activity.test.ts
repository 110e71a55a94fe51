import type { GuestActivity } from "@dormouse/contract";
import { expect, test } from "vitest";
import { Activity } from "./activity.ts";

const quiet: GuestActivity = {
  lastRequestMs: 0,
  lastTerminalOutputMs: null,
  channels: 0,
  runningProcesses: 0,
  ptys: 0,
};
const source = (activity: Partial<GuestActivity>, cpuMs = 0) => ({
  activity: async () => ({ ...quiet, ...activity }),
  cpuMs: async () => cpuMs,
});

test("requests count at their moment, and an open connection for as long as it is open", () => {
  const activity = new Activity(1_000);
  activity.touch(2_000);
  activity.touch(1_500);
  expect(activity.use(9_000)).toEqual({ activeMs: 2_000, keptAwakeBy: null });
  const close = activity.connect("an open editor or connection");
  expect(activity.use(9_000)).toEqual({ activeMs: 9_000, keptAwakeBy: "an open editor or connection" });
  close();
  close();
  expect(activity.use(10_000).keptAwakeBy).toBeNull();
  expect(activity.use(10_000).activeMs).toBeGreaterThan(2_000);
});

test("connections are named, each kind once", () => {
  const activity = new Activity(0);
  const ends = ["port 3000", "port 3000", "an open editor or connection"].map((what) => activity.connect(what));
  expect(activity.use(1).keptAwakeBy).toBe("port 3000, an open editor or connection");
  ends[0]?.();
  expect(activity.use(1).keptAwakeBy).toBe("port 3000, an open editor or connection");
  ends[1]?.();
  expect(activity.use(1).keptAwakeBy).toBe("an open editor or connection");
});

test("commands, terminals and busy processes keep a machine awake, and let it go", async () => {
  const activity = new Activity(0);
  await activity.look(source({ runningProcesses: 1 }), 60_000);
  expect(activity.use(61_000)).toEqual({ activeMs: 61_000, keptAwakeBy: "a command that runs" });
  await activity.look(source({ lastTerminalOutputMs: 80_000 }), 90_000);
  expect(activity.use(91_000).keptAwakeBy).toBe("a terminal");
  await activity.look(source({}, 16_000), 120_000);
  expect(activity.use(121_000)).toEqual({ activeMs: 121_000, keptAwakeBy: "busy processes" });
  await activity.look(source({}, 17_000), 150_000);
  expect(activity.use(200_000)).toEqual({ activeMs: 120_000, keptAwakeBy: null });
});

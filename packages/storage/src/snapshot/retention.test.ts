import { expect, test } from "vitest";
import { createSnapshotId } from "../format/snapshot-id.ts";
import { random } from "../testing/random.ts";
import { defaultRetention, type RetainedSnapshot, selectExpired } from "./retention.ts";

const [minuteMs, hourMs, dayMs] = [60_000, 3_600_000, 86_400_000];
const nowMs = Date.UTC(2026, 10, 24, 12, 30, 30);

function snapshot(ageMs: number, more: Partial<RetainedSnapshot> = {}): RetainedSnapshot {
  const createdMs = nowMs - ageMs;
  return { id: createSnapshotId(1, createdMs), createdMs, name: null, reason: "periodic", ...more };
}
const keptOf = (snapshots: RetainedSnapshot[], atMs = nowMs) => {
  const expired = new Set(selectExpired(snapshots, defaultRetention, atMs));
  return snapshots.filter((candidate) => !expired.has(candidate));
};

test("every minute for an hour, every hour for a day, every day for a month", () => {
  const all = Array.from({ length: 60 * 24 * 60 }, (_, minute) => snapshot(minute * minuteMs));
  const kept = keptOf(all);
  const between = (fromMs: number, toMs: number) =>
    kept.filter(({ createdMs }) => nowMs - createdMs >= fromMs && nowMs - createdMs < toMs).length;
  expect(between(0, hourMs)).toBe(60);
  expect(between(hourMs + minuteMs, dayMs)).toBe(23);
  // Yesterday's last one is younger than a day.
  expect(between(dayMs + minuteMs, 60 * dayMs)).toBe(30);
  // The newest of each period: the last minute of an hour or a day.
  const old = kept.filter(({ createdMs }) => nowMs - createdMs > dayMs + minuteMs);
  for (const { createdMs } of old) expect(createdMs % dayMs).toBeGreaterThanOrEqual(dayMs - minuteMs);
});

test("several in one minute are thinned to the newest", () => {
  const [a, b, c] = [snapshot(100_000), snapshot(105_000), snapshot(10_000)];
  expect(keptOf([a, b, c])).toEqual([a, c]);
});

test("always kept: the newest, the last hibernation, named, manual, the future", () => {
  const old = 100 * dayMs;
  const keep = [
    snapshot(old, { name: "before the release" }),
    snapshot(old + 1, { reason: "manual" }),
    snapshot(old + 2, { reason: "hibernate" }),
    snapshot(old - 1),
  ];
  const drop = [snapshot(old + 4), snapshot(old + 5, { reason: "hibernate" }), snapshot(old + 6, { reason: "fork" })];
  expect(keptOf([...drop, ...keep])).toEqual(keep);
  const future = snapshot(-dayMs);
  expect(keptOf([future, snapshot(-dayMs - 1)])).toHaveLength(2);
  expect(selectExpired([], defaultRetention, nowMs)).toEqual([]);
});

test("asking after every snapshot keeps as much as asking once, and never more than the tiers have periods", () => {
  const next = random(5);
  let snapshots: RetainedSnapshot[] = [];
  for (let minute = 0; minute < 3 * 24 * 60; minute++) {
    const createdMs = nowMs + minute * minuteMs + Math.floor(next() * 30_000);
    snapshots.push({ ...snapshot(0), id: createSnapshotId(1, createdMs), createdMs });
    snapshots = keptOf(snapshots, createdMs);
    expect(snapshots.length).toBeLessThanOrEqual(61 + 25 + 32);
  }
  const hours = new Set(snapshots.map(({ createdMs }) => Math.floor(createdMs / hourMs)));
  expect(hours.size).toBeGreaterThanOrEqual(24);
});

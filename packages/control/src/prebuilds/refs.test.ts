import { describe, expect, test } from "vitest";
import { isSigned } from "./hook.ts";
import { commitOf, compareRefs, parseRefs } from "./refs.ts";
import { nextScheduled, scheduleNotes, ttlSecondsOf } from "./schedule.ts";
import { plainRef } from "./store.ts";

const commit = (digit: string) => digit.repeat(40);

test("refs are what git prints, tags what they stand for", () => {
  const lines = [
    `${commit("a")}\tHEAD`,
    `${commit("b")}\trefs/tags/v1`,
    `${commit("c")}\trefs/tags/v1^{}`,
    `${commit("d")}\trefs/pull/7/head`,
    "warning: something",
  ];
  const refs = parseRefs(`${lines.join("\n")}\n`);
  expect(refs).toEqual({ HEAD: commit("a"), "refs/tags/v1": commit("c"), "refs/pull/7/head": commit("d") });
  expect([null, "v1", "refs/tags/v1", "pull/7/head", "none"].map((ref) => commitOf(refs, ref)?.[0])).toEqual([
    ...["a", "c", "c", "d"],
    undefined,
  ]);
  const many = Array.from({ length: 1500 }, (_, index) => `${commit("e")}\trefs/pull/${index}/head`).join("\n");
  const kept = Object.keys(parseRefs(`${many}\n`));
  expect([kept.length, kept[0], kept.at(-1)]).toEqual([1000, "refs/pull/1499/head", "refs/pull/500/head"]);
});

describe("what a look wants", () => {
  const before = { ref: null, commit: commit("a"), triggers: ["push" as const, "pr" as const], refs: null };
  const now = { HEAD: commit("b"), "refs/pull/1/head": commit("c") };

  test("the first one remembers the pull requests that there are", () => {
    const seen = { own: commit("b"), "refs/pull/1/head": commit("c") };
    expect(compareRefs(before, now)).toEqual({ push: true, requests: [], refs: seen });
    expect(compareRefs({ ...before, commit: commit("b") }, now).push).toBe(false);
  });

  test("what was seen is not wanted again, also when it failed; what is new is", () => {
    const seen = compareRefs(before, now).refs;
    expect(compareRefs({ ...before, refs: seen }, now)).toMatchObject({ push: false, requests: [] });
    const later = { HEAD: commit("d"), "refs/pull/1/head": commit("e"), "refs/pull/2/head": commit("c") };
    const requests = ["refs/pull/1/head", "refs/pull/2/head"];
    expect(compareRefs({ ...before, refs: seen }, later)).toMatchObject({ push: true, requests });
  });

  test("only what its triggers name", () => {
    const seen = { own: commit("a") };
    expect(compareRefs({ ...before, triggers: [], refs: seen }, now)).toMatchObject({ push: false, requests: [] });
    expect(compareRefs({ ...before, triggers: ["pr"], refs: seen }, now)).toMatchObject({ push: false });
    expect(compareRefs({ ...before, triggers: ["push"], refs: seen }, now)).toMatchObject({ requests: [] });
    expect(compareRefs(before, {})).toEqual({ push: false, requests: [], refs: {} });
  });
});

test("schedules are in UTC, the earliest counts, and what is none has no time", () => {
  const after = new Date("2026-02-27T12:00:00Z");
  const next = (...crons: string[]) =>
    nextScheduled([...crons.map((cron) => ({ cron })), "push"], after)?.toISOString();
  expect(next("0 3 * * 1")).toBe("2026-03-02T03:00:00.000Z");
  expect(next("0 3 * * 1", "*/15 * * * *")).toBe("2026-02-27T12:15:00.000Z");
  expect(next("99 99 * * *")).toBeUndefined();
  expect(next("0 0 31 2 *")).toBeUndefined();
  expect(scheduleNotes([{ cron: "99 99 * * *" }, { cron: "0 3 * * 1" }, "push"], after)).toEqual([
    'prebuild: the schedule "99 99 * * *" never comes: minute, hour, day, month, day of the week',
  ]);
  expect(next()).toBeUndefined();
});

test("times are read as the schema has them", () => {
  expect(["45s", "1h30m", "14d", "0s", "99999999d"].map(ttlSecondsOf)).toEqual([45, 5400, 1_209_600, 1, 2 ** 31 - 1]);
});

test("names of refs that mean the same are the same", () => {
  expect([null, "main", "refs/heads/main", "refs/pull/1/head", "pull/1/head"].map(plainRef)).toEqual([
    ...[null, "main", "main", "pull/1/head", "pull/1/head"],
  ]);
});

test("signatures are GitHub's: its own example", () => {
  const body = Buffer.from("Hello, World!");
  const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
  expect(isSigned(body, signature, "It's a Secret to Everybody")).toBe(true);
  expect(isSigned(body, signature, "another")).toBe(false);
  expect(isSigned(Buffer.from("Hello, World"), signature, "It's a Secret to Everybody")).toBe(false);
  for (const wrong of [undefined, "", "sha1=757107ea", signature.slice(0, -1), `${signature}0`])
    expect(isSigned(body, wrong, "It's a Secret to Everybody")).toBe(false);
});

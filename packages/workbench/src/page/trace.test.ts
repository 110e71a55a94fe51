import { expect, test } from "vitest";
import { describeTrace } from "./trace.ts";

test("a page that was prepared: what was done before it was asked for cost nothing", () => {
  const text = describeTrace({
    shownMs: 5_000,
    steps: [
      ["workspace known", 300],
      ["editor built", 4_000],
      ["machine runs", 5_040.4],
      ["machine connected", 5_100],
      ["open files back", 4_200],
    ],
  });
  expect(text).toContain("began this page 5.0 s before you asked for it");
  expect(
    text
      .split("\n")
      .filter((line) => line.startsWith("| "))
      .slice(1),
  ).toEqual([
    "| workspace known | before | |",
    "| editor built | before | |",
    "| open files back | before | |",
    "| machine runs | 40 ms | 40 ms |",
    "| machine connected | 100 ms | 60 ms |",
  ]);
});

test("a page that was opened by its address: each step with what it took", () => {
  const text = describeTrace({
    shownMs: 0,
    steps: [
      ["workspace known", 200],
      ["machine runs", 1_200],
      ["editor's code loaded", 700],
    ],
  });
  expect(text).toContain("began this page when you asked for it");
  expect(
    text
      .split("\n")
      .filter((line) => line.startsWith("| "))
      .slice(1),
  ).toEqual([
    "| workspace known | 200 ms | 200 ms |",
    "| editor's code loaded | 700 ms | 500 ms |",
    "| machine runs | 1200 ms | 500 ms |",
  ]);
});

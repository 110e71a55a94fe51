import { workspaceState } from "@dormouse/contract";
import { expect, test } from "vitest";
import { assertTransition, isSettled, isTransition } from "./states.ts";

const states = workspaceState.options;

test("every state can be deleted, and what is being deleted is nothing else again", () => {
  for (const state of states) {
    expect(isTransition(state, "deleting"), state).toBe(state !== "deleting");
    expect(isTransition("deleting", state), state).toBe(false);
  }
});

test("whatever is under way can fail, and what failed can be started again", () => {
  for (const state of states) {
    if (state !== "failed" && state !== "deleting") expect(isTransition(state, "failed"), state).toBe(true);
  }
  expect(isTransition("failed", "starting")).toBe(true);
});

test("every state is reached from `creating`, and from every state but `deleting` a settled one is reached", () => {
  const reachable = (from: (typeof states)[number]) => {
    const seen = new Set([from]);
    for (const state of seen) for (const next of states) if (isTransition(state, next)) seen.add(next);
    return seen;
  };
  expect([...reachable("creating")].sort()).toEqual([...states].sort());
  for (const state of states) {
    if (state !== "deleting") expect([...reachable(state)].some(isSettled), state).toBe(true);
  }
});

test("refuses an impossible transition naming both states and the possible ones", () => {
  expect(() => assertTransition("hibernated", "running")).toThrow(
    "a workspace that is hibernated cannot become running, only waking, failed, deleting",
  );
  expect(() => assertTransition("deleting", "running")).toThrow("cannot become running, nothing else any more");
});

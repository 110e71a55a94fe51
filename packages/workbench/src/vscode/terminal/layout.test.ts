import { expect, test } from "vitest";
import { arrange, layoutStore, type TerminalLayout, toLayout } from "./layout.ts";

const split: TerminalLayout = {
  tabs: [
    {
      isActive: true,
      active: "b",
      panes: [
        { pty: "a", relativeSize: 0.4 },
        { pty: "b", relativeSize: 0.6 },
      ],
    },
    { isActive: false, active: "c", panes: [{ pty: "c", relativeSize: 1 }] },
  ],
};

test("terminals that are gone leave the arrangement, unknown ones get a tab", () => {
  expect(arrange(split, ["b", "d"]).tabs.map((tab) => tab.panes.map(({ pty }) => pty))).toEqual([["b"], ["d"]]);
  expect(arrange({ tabs: [] }, [])).toEqual({ tabs: [] });
});

test("a terminal stands in one place only", () => {
  const twice: TerminalLayout = { tabs: [...split.tabs, ...split.tabs] };
  expect(arrange(twice, ["a", "b", "c"])).toEqual(split);
});

test("the editor's numbers become the machine's names; terminals without one are left out", () => {
  const names = new Map([[1, "a"]]);
  const layout = toLayout(
    {
      tabs: [
        { isActive: true, activePersistentProcessId: 1, terminals: [{ relativeSize: 1, terminal: 1 }] },
        { isActive: false, activePersistentProcessId: 2, terminals: [{ relativeSize: 1, terminal: 2 }] },
      ],
      background: null,
    },
    (id) => names.get(id),
  );
  expect(layout.tabs).toEqual([{ isActive: true, active: "a", panes: [{ pty: "a", relativeSize: 1 }] }]);
});

test("what lies broken in the storage counts as nothing", () => {
  expect(layoutStore("w", { getItem: () => "{", setItem: () => {} }).load()).toEqual({ tabs: [] });
  expect(layoutStore("w", { getItem: () => '{"tabs":1}', setItem: () => {} }).load()).toEqual({ tabs: [] });
});

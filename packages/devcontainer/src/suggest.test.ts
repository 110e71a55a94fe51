import { expect, test } from "vitest";
import { suggest } from "./suggest.ts";

test.each([
  ["forwardPort", "forwardPorts"],
  ["REMOTEUSER", "remoteUser"],
  ["remoteUsr", "remoteUser"],
  ["zzz", undefined],
  ["ab", undefined],
  ["x".repeat(100_000), undefined],
])("%.20s means %s", (word, expected) => {
  expect(suggest(word, ["forwardPorts", "remoteUser", "name"])).toBe(expected);
});

import { expect, test } from "vitest";
import { repositoryLabel } from "./repository-label.ts";

test.each([
  ["https://example.org/team/app.git", "example.org/team/app"],
  ["git@example.org:team/app.git", "example.org/team/app"],
  ["ssh://git@example.org:2222/team/app", "example.org:2222/team/app"],
])("%s reads %s", (url, label) => {
  expect(repositoryLabel(url)).toBe(label);
});

import { expect, test } from "vitest";
import { splitRef } from "./prebuild.ts";

test.each([
  ["https://git.example/team/app.git", "https://git.example/team/app.git", undefined],
  ["https://git.example/team/app.git@main", "https://git.example/team/app.git", "main"],
  ["https://git.example/team/app@feature/x", "https://git.example/team/app", "feature/x"],
  ["https://me:secret@git.example/app.git", "https://me:secret@git.example/app.git", undefined],
  ["https://me:secret@git.example/app.git@v1.2", "https://me:secret@git.example/app.git", "v1.2"],
  ["git@git.example:team/app.git", "git@git.example:team/app.git", undefined],
  ["git@git.example:team/app.git@main", "git@git.example:team/app.git", "main"],
  ["https://git.example/app@", "https://git.example/app@", undefined],
])("%s", (text, repository, ref) => {
  expect(splitRef(text)).toEqual(ref === undefined ? { repository } : { repository, ref });
});

import { expect, test } from "vitest";
import { checkRef, parseRepositoryUrl } from "./repository-url.ts";

test.each([
  ["https://github.com/acme/Tool.git", "https://github.com/acme/Tool.git", "Tool"],
  ["  http://localhost:3000/a/b/  ", "http://localhost:3000/a/b/", "b"],
  ["ssh://git@example.com:22/team/repo.git", "ssh://git@example.com:22/team/repo.git", "repo"],
  ["git://example.com/repo", "git://example.com/repo", "repo"],
  ["git@github.com:acme/tool.git", "git@github.com:acme/tool.git", "tool"],
  ["example.com:tool", "example.com:tool", "tool"],
  ["https://example.com/with%20space", "https://example.com/with%20space", "with space"],
])("takes %s", (input, url, name) => {
  expect(parseRepositoryUrl(input)).toEqual({ url, name });
});

test("takes credentials out of the address", () => {
  expect(parseRepositoryUrl("https://me:p%40ss@example.com/x.git")).toEqual({
    url: "https://example.com/x.git",
    name: "x",
    credential: { username: "me", password: "p@ss" },
  });
  expect(parseRepositoryUrl("https://ghp_token@example.com/x").url).toBe("https://example.com/x");
  expect(parseRepositoryUrl("ssh://git:pw@example.com/x").url).toBe("ssh://git@example.com/x");
});

test.each([
  ["file:///etc/passwd", "file:// is not taken"],
  ["/home/me/repo", "no address of a git repository"],
  ["../repo", "no address of a git repository"],
  ["-oProxyCommand=x", "begins with -"],
  ["--upload-pack=x", "begins with -"],
  ["git@-oProxyCommand=x:y", "no address of a git repository"],
  ["host:-x", "no address of a git repository"],
  ["ssh://-oProxyCommand=x/y", "cannot be opened"],
  ["ext::sh -c id", "spaces or control characters"],
  ["ext::id", "remote helpers are not taken"],
  ["https://example.com/", "its path names no repository"],
  ["https://example.com/..", "its path names no repository"],
  ["https://example.com/a%2f..%2fb", "its path names no repository"],
  ["https://", "it is no URL"],
  ["https://example.com/a\nb", "spaces or control characters"],
  ["", "no address of a git repository"],
])("refuses %j", (input, why) => {
  expect(() => parseRepositoryUrl(input)).toThrow(why);
});

test("a refusal shows no credential", () => {
  expect(() => parseRepositoryUrl("ftp://me:s3cret@example.com/x")).toThrow(/^(?!.*s3cret).*ftp:\/\/…@example.com/);
  expect(() => parseRepositoryUrl("https://me:s3cret@exa mple.com/x")).toThrow(/^(?!.*s3cret)/);
});

test("a reference is one that git takes", () => {
  for (const ref of ["main", "feature/x-1", "v1.0.0", "0123abc", "refs/heads/a"]) expect(checkRef(ref)).toBe(ref);
  for (const ref of ["-b", "a..b", "a b", "a~1", "a^", "a:b", "/a", "a/", "a.lock", "@{u}", "a\0"]) {
    expect(() => checkRef(ref), ref).toThrow(/is no name of a branch, tag or commit/);
  }
});

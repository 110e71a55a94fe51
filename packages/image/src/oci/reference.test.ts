import { expect, test } from "vitest";
import { isLoopback, parseImageReference } from "./reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test.each([
  ["debian", "docker.io", "docker.io/library/debian", "latest"],
  ["debian:12", "docker.io", "docker.io/library/debian", "12"],
  ["team/app:1.2_x", "docker.io", "docker.io/team/app", "1.2_x"],
  ["docker.io/debian", "docker.io", "docker.io/library/debian", "latest"],
  ["localhost/app", "localhost", "localhost/app", "latest"],
  ["127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000", "127.0.0.1:5000/a/b/c", "t"],
  ["[::1]:5000/app", "[::1]:5000", "[::1]:5000/app", "latest"],
  ["registry.example/a__b/c--d.e", "registry.example", "registry.example/a__b/c--d.e", "latest"],
])("%s", (text, registry, repository, tag) => {
  expect(parseImageReference(text)).toEqual({ registry, repository, tag });
});

test("a digest makes a tag void", () => {
  const expected = { registry: "docker.io", repository: "docker.io/library/debian", digest };
  expect(parseImageReference(`debian@${digest}`)).toEqual(expected);
  expect(parseImageReference(`debian:12@${digest}`)).toEqual(expected);
});

test.each([
  ["", 'image "": must be [REGISTRY/]REPOSITORY[:TAG][@DIGEST]'],
  ["Debian", 'image "Debian": must be'],
  ["docker://debian", "must be"],
  ["--help", "must be"],
  ["a b", "must be"],
  ["debian\n", "must be"],
  ["../debian", "must be"],
  ["a//b", "must be"],
  ["registry.example/", "must be"],
  ["debian:", "after : a tag must follow"],
  ["debian:-x", "after : a tag must follow"],
  ["debian@sha256:12", "after @ a digest must follow: sha256: and 64 hexadecimal digits"],
  ["a".repeat(300), "the name is 318 characters long, of at most 255"],
])("%j is refused", (text, message) => {
  expect(() => parseImageReference(text)).toThrow(message);
});

test("a password that was written into a reference does not come back", () => {
  for (const text of ["user:secret@registry.example/app", "https://user:secret@registry.example/app"]) {
    expect(() => parseImageReference(text)).toThrow(/^(?!.*secret)/s);
  }
});

test("loopback addresses, and what only looks like them", () => {
  for (const host of ["localhost", "localhost:5000", "127.0.0.1:80", "127.8.9.1", "[::1]:5000"]) {
    expect(isLoopback(host), host).toBe(true);
  }
  for (const host of ["127.0.0.1.example", "localhost.example", "128.0.0.1", "10.0.0.1:5000", "[::2]", "127.example"]) {
    expect(isLoopback(host), host).toBe(false);
  }
});

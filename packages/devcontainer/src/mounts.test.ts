import { expect, test } from "vitest";
import { parseMount } from "./mounts.ts";

test.each([
  [
    "type=volume,source=cache-${devcontainerId},target=/cache",
    { type: "volume", source: "cache-${devcontainerId}", target: "/cache", readonly: false, options: {} },
  ],
  [
    "source=/a,dst=/b,type=bind,consistency=cached,ro",
    { type: "bind", source: "/a", target: "/b", readonly: true, options: { consistency: "cached" } },
  ],
  ["src=a,destination=/b,readonly=false", { type: "volume", source: "a", target: "/b", readonly: false, options: {} }],
  [
    "type=tmpfs,target=/t,tmpfs-size=1g",
    { type: "tmpfs", target: "/t", readonly: false, options: { "tmpfs-size": "1g" } },
  ],
  ["target=/anonymous", { type: "volume", target: "/anonymous", readonly: false, options: {} }],
  [
    '"source=/a,b","target=/say ""hi""",type=bind',
    { type: "bind", source: "/a,b", target: '/say "hi"', readonly: false, options: {} },
  ],
])("%s", (text, mount) => {
  expect(parseMount(text)).toEqual(mount);
});

test("an object is the same mount", () => {
  const mount = { type: "volume" as const, source: "a", target: "/a" };
  expect(parseMount(mount)).toEqual({ ...mount, readonly: false, options: {} });
  expect(parseMount({ type: "volume", target: "/a" })).toEqual({
    type: "volume",
    target: "/a",
    readonly: false,
    options: {},
  });
});

test.each([
  ["", "target is missing: must be a path in the container"],
  ["type=volume", "target is missing: must be a path in the container"],
  ["type=bind,target=/a", "source is missing: a bind mount must say what it shows"],
  ["type=npipe,target=/a", 'type is "npipe": must be one of bind, volume, tmpfs'],
  ["target=/a,dst=/b", "target must be given once"],
  ["/a:/b", '"/a:/b" must be KEY=VALUE'],
  ["target=/a,readonly=yes", 'readonly is "yes": must be true or false'],
])("%s is refused", (text, message) => {
  expect(() => parseMount(text)).toThrow(`mount ${JSON.stringify(text)}: ${message}`);
});

import { expect, test } from "vitest";
import { openDefinition } from "../definitions/definition.ts";
import { noPortRules } from "../definitions/ports.ts";
import { isWider, knownPort, portNumbers } from "./settings.ts";

const definition = {
  ...openDefinition(null),
  ports: {
    ...noPortRules,
    forwardPorts: [3000, "database:5432"],
    appPort: [8080],
    portsAttributes: {
      "3000": { label: "web", protocol: "https" as const, onAutoForward: "openPreview" as const },
      "5000-5010": { onAutoForward: "ignore" as const },
      node: { label: "by its command line" },
    },
    otherPortsAttributes: { onAutoForward: "silent" as const },
    visibility: { "3000": "public" as const, "9000": "organisation" as const },
  },
};
const row = { id: "ws-1", folder: "/workspace", env: {}, definition };
const unset = { visibility: null, label: null, protocol: null, isForwarded: null };
const known = (
  port: number,
  setting?: Partial<typeof unset> | object,
  maxVisibility: "private" | "public" = "public",
) => knownPort(row, { port, setting: setting && { ...unset, port, ...setting }, maxVisibility });

test("a port is what its definition says, unless something was set for it", () => {
  expect(known(3000)).toEqual({
    ...{ port: 3000, label: "web", protocol: "https", visibility: "public" },
    ...{ isForwarded: true, onAutoForward: "openPreview" },
  });
  expect(known(3000, { label: "mine", protocol: "h2c", visibility: "private", isForwarded: false })).toMatchObject({
    ...{ label: "mine", protocol: "h2c", visibility: "private", isForwarded: false },
  });
  expect(known(5005)).toMatchObject({ onAutoForward: "ignore", protocol: "http", visibility: "private" });
  expect(known(9000)).toMatchObject({ onAutoForward: "silent", label: null, visibility: "organisation" });
  const none = knownPort({ ...row, definition: null }, { port: 1, setting: undefined, maxVisibility: "public" });
  expect(none).toMatchObject({ label: null, protocol: "http", visibility: "private", onAutoForward: "notify" });
});

test("neither definition nor setting is wider than the policy", () => {
  expect(known(3000, undefined, "private").visibility).toBe("private");
  expect(known(9000, { visibility: "public" }, "private").visibility).toBe("private");
  expect(isWider("public", "organisation")).toBe(true);
  expect(isWider("private", "private")).toBe(false);
});

test("ports are those that listen, that are named and that were set, each once; services beside the machine are none", () => {
  const listening = [3000, 4000].map((port) => ({ port, address: "::", pid: 1, process: "x", commandLine: "x" }));
  expect(portNumbers(row, { listening, settings: [{ ...unset, port: 22 }] })).toEqual([22, 3000, 4000, 8080]);
});

import { describe, expect, test } from "vitest";
import { attributesOf, parseAppPort, parseForwardedPort, parsePortKey, portsToForward } from "./ports.ts";

test("forwarded ports are numbers or host:port", () => {
  expect(parseForwardedPort(3000)).toEqual({ host: "localhost", port: 3000 });
  expect(parseForwardedPort("db:5432")).toEqual({ host: "db", port: 5432 });
  expect(() => parseForwardedPort("3000")).toThrow(
    'port is "3000": must be a whole number from 0 to 65535 or "host:port" with one',
  );
  expect(() => parseForwardedPort(65_536)).toThrow("port is 65536: must be");
});

test.each([
  [3000, [3000]],
  ["3000", [3000]],
  ["8080:3000", [3000]],
  ["127.0.0.1:8080:3000/tcp", [3000]],
  ["127.0.0.1::3000", [3000]],
  ["[::1]:8080:3000", [3000]],
  ["8000-8002:9000-9002", [9000, 9001, 9002]],
  ["53:53/udp", []],
])("appPort %j publishes the inner ports %j", (entry, ports) => {
  expect(parseAppPort(entry)).toEqual(ports);
});

test.each([0, 65_536, "web", "3000:", "9-3", "1-200", "", "${localEnv:PORT}:3000"])(
  "appPort %j is refused",
  (entry) => {
    expect(() => parseAppPort(entry)).toThrow(
      `appPort is ${JSON.stringify(entry)}: must be a port from 1 to 65535, or ports to publish such as "8080:3000", at most 100 of them`,
    );
  },
);

test("what appPort publishes is forwarded after forwardPorts, each port once, and what is none is left out", () => {
  const forwardPorts = [3000, "db:5432"];
  expect(portsToForward({ forwardPorts, appPort: ["8080:3000", 5432, "${localEnv:PORT}"] })).toEqual([
    { host: "localhost", port: 3000 },
    { host: "db", port: 5432 },
    { host: "localhost", port: 5432 },
  ]);
  expect(portsToForward({ forwardPorts: [], appPort: "9000:90" })).toEqual([{ host: "localhost", port: 90 }]);
  expect(portsToForward({ forwardPorts: [], appPort: undefined })).toEqual([]);
});

describe("attributes", () => {
  const config = {
    portsAttributes: {
      "3000-3999": { label: "range" },
      "3000": { label: "port" },
      "db:5432": { label: "database" },
      ".+/server\\.js": { label: "command" },
      node: { label: "second command" },
      "(": { label: "never" },
    },
    otherPortsAttributes: { label: "other" },
  };

  test.each([
    [3000, undefined, "port"],
    [3000, "node /app/server.js", "port"],
    [3001, "node /app/server.js", "range"],
    [3999, undefined, "range"],
    [4000, "node /app/server.js", "command"],
    [4000, "node", "second command"],
    [4000, "python", "other"],
    [5432, undefined, "other"],
    [{ host: "db", port: 5432 }, undefined, "database"],
    [{ host: "db", port: 3000 }, undefined, "other"],
  ])("of %j with process %s are those of the %s", (port, command, label) => {
    expect(attributesOf(config, port, command)).toEqual({ label });
  });

  test("are none where nothing says any", () => {
    expect(attributesOf({ portsAttributes: {} }, 3000)).toEqual({});
  });

  test.each([
    ["70000", "must be named by ports from 0 to 65535"],
    ["9-3", "must be named by a range with its lower port first"],
    ["[", "must be named by a port, a range of ports or a valid regular expression"],
  ])("under %s are refused", (key, reason) => {
    expect(parsePortKey(key)).toEqual({ kind: "invalid", reason });
  });
});

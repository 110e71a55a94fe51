import { expect, test } from "vitest";
import { ownServers, withSetting } from "./servers.ts";

const names = (setting: unknown) => withSetting(setting).servers.map(({ name }) => name);

test("without a setting the machine's own servers are used", () => {
  expect(withSetting(undefined)).toEqual({ servers: ownServers, problems: [] });
  expect(names({})).toEqual(["typescript", "python", "json", "css", "html", "yaml", "bash"]);
});

test("a setting adds servers, replaces them and switches them off", () => {
  const { servers, problems } = withSetting({
    gopls: { command: ["gopls", "serve"], languages: ["go"] },
    python: { command: ["pylsp"], languages: ["python"] },
    html: false,
  });
  expect(problems).toEqual([]);
  expect(servers.map(({ name }) => name)).toEqual(["typescript", "python", "json", "css", "yaml", "bash", "gopls"]);
  expect(servers.at(-1)).toEqual({
    name: "gopls",
    title: "gopls",
    server: { command: ["gopls", "serve"] },
    languages: ["go"],
    sections: ["gopls"],
  });
  expect(servers[1]?.server).toEqual({ command: ["pylsp"] });
});

test.each([
  [[], "an object with the names of servers is expected"],
  [{ gopls: {} }, 'gopls.command: a list of words is expected, such as ["gopls"]'],
  [{ gopls: { command: "gopls" } }, 'gopls.command: a list of words is expected, such as ["gopls"]'],
  [
    { gopls: { command: ["gopls"], languages: [] } },
    'gopls.languages: a list of languages is expected, such as ["go"]',
  ],
  [{ gopls: null }, 'gopls.command: a list of words is expected, such as ["gopls"]'],
  [{ gopls: false }, "gopls: there is no server of this name to switch off"],
])("what cannot be taken of a setting is told: %j", (setting, problem) => {
  const { servers, problems } = withSetting(setting);
  expect(problems).toEqual([problem]);
  expect(servers).toEqual(ownServers);
});

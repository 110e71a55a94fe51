import { expect, test } from "vitest";
import { debuggerOfProcess } from "./attach.ts";
import { debuggerOf, gdbConfiguration } from "./configurations.ts";
import { debugContributions } from "./contributions.ts";

test("what files for Microsoft's C++ debugger say is said to gdb in its own words", () => {
  const launch = { type: "cppdbg", request: "launch", name: "Main", program: "/w/main", args: ["a"] };
  const environment = [{ name: "LEVEL", value: "2" }];
  expect(gdbConfiguration({ ...launch, environment, stopAtEntry: true })).toEqual({
    ...launch,
    env: { LEVEL: "2" },
    stopAtBeginningOfMainSubprogram: true,
  });
  const attach = { type: "cppdbg", request: "attach", name: "Main" };
  expect(gdbConfiguration({ ...attach, processId: "42" })).toEqual({ ...attach, pid: 42 });
  expect(gdbConfiguration({ ...attach, miDebuggerServerAddress: "127.0.0.1:2345" })).toEqual({
    ...attach,
    target: "127.0.0.1:2345",
  });
  expect(gdbConfiguration(launch as never)).toEqual(launch);
});

test("every language that breakpoints may stand in has a debugger, and every debugger its configurations", () => {
  const { debuggers, breakpoints } = debugContributions;
  const types = new Set(debuggers.map(({ type }) => type));
  for (const { language } of breakpoints) expect(types).toContain(debuggerOf[language]);
  // One debugger a language: with several the editor would ask.
  const languages = debuggers.flatMap((one) => ("languages" in one ? one.languages : []));
  expect(new Set(languages).size).toBe(languages.length);
});

test("snippets hold the editor's variables as they are to be typed", () => {
  const [snippet] = debugContributions.debuggers.flatMap((one) =>
    "configurationSnippets" in one ? one.configurationSnippets : [],
  );
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is to stand there.
  expect(snippet?.body.program).toBe('^"\\${file}"');
});

test("a process's name speaks for its debugger, where it does", () => {
  expect(debuggerOfProcess({ command: ["/usr/bin/python3.13", "x.py"] })).toBe("debugpy");
  expect(debuggerOfProcess({ command: ["node", "server.js"] })).toBe("node");
  expect(debuggerOfProcess({ command: ["/w/main"] })).toBeUndefined();
  expect(debuggerOfProcess({ command: [] })).toBeUndefined();
});

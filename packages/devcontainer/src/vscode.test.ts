import { expect, test } from "vitest";
import { parseImageMetadata } from "./image-metadata.ts";
import { mergeConfig } from "./merge.ts";
import { parseConfig } from "./parse.ts";
import { vscodeOf } from "./vscode.ts";

test("settings of the later block win, extensions are a union that a later block can take from", () => {
  const merged = mergeConfig({
    image: [
      {
        customizations: {
          vscode: { settings: { "editor.tabSize": 8, "a.b": [1] }, extensions: ["Pub.one", "pub.two"] },
        },
      },
    ],
    features: [{ customizations: { vscode: { extensions: ["pub.three", "-pub.ONE"] } } }],
    config: {
      customizations: {
        vscode: {
          settings: { "editor.tabSize": 2, "[python]": { "editor.rulers": [88] } },
          extensions: ["pub.two", "pub.four"],
        },
      },
    },
  });
  expect(vscodeOf(merged)).toEqual({
    settings: { "editor.tabSize": 2, "a.b": [1], "[python]": { "editor.rulers": [88] } },
    extensions: ["pub.two", "pub.three", "pub.four"],
  });
  expect(vscodeOf(mergeConfig({ config: {} }))).toEqual({ settings: {}, extensions: [] });
});

test.each([
  ["a block", 3, [["customizations.vscode", "is 3: must be an object, and is left out"]]],
  [
    "its parts",
    { settings: [], extensions: "pub.one" },
    [
      ["customizations.vscode.settings", "is a list: must be an object, and is left out"],
      ["customizations.vscode.extensions", 'is "pub.one": must be a list of identifiers, and is left out'],
    ],
  ],
  [
    "an identifier",
    { extensions: ["pub.one", "-pub.one", "two", 4] },
    [
      [
        "customizations.vscode.extensions[2]",
        'is "two": must be an identifier such as "publisher.name", and is left out',
      ],
      ["customizations.vscode.extensions[3]", 'is 4: must be an identifier such as "publisher.name", and is left out'],
    ],
  ],
])("%s that an editor cannot use is a warning, and keeps nobody out", (_, vscode, expected) => {
  const text = JSON.stringify({ image: "x", customizations: { vscode } });
  const { config, problems } = parseConfig(text, { path: "devcontainer.json" });
  expect(problems.map(({ property, message }) => [property, message])).toEqual(expected);
  expect(problems.every(({ severity }) => severity === "warning")).toBe(true);
  expect(config && vscodeOf(mergeConfig({ config })).settings).toEqual({});
});

test("settings and extensions beside all else are the oldest form: taken as the block, which goes before them", () => {
  const { config, problems } = parseConfig(
    JSON.stringify({
      image: "x",
      settings: { "editor.tabSize": 8, "a.b": 1 },
      extensions: ["pub.two", 4],
      customizations: { vscode: { settings: { "editor.tabSize": 2 }, extensions: ["pub.one"] }, other: {} },
    }),
    { path: "devcontainer.json" },
  );
  expect(problems.map(({ severity, property, message }) => [severity, property, message])).toEqual([
    ["warning", "settings", "is the oldest form of customizations.vscode.settings: taken as that"],
    ["warning", "extensions", "is the oldest form of customizations.vscode.extensions: taken as that"],
    ["warning", "extensions[1]", 'is 4: must be an identifier such as "publisher.name", and is left out'],
  ]);
  const image = parseImageMetadata(JSON.stringify({ extensions: ["pub.zero"] })).entries ?? [];
  expect(config && vscodeOf(mergeConfig({ image, config }))).toEqual({
    settings: { "editor.tabSize": 2, "a.b": 1 },
    extensions: ["pub.zero", "pub.one", "pub.two"],
  });
  expect(vscodeOf(mergeConfig({ config: { extensions: ["pub.one"] } as object }))).toEqual({
    settings: {},
    extensions: ["pub.one"],
  });
});

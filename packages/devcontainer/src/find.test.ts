import { expect, test } from "vitest";
import { chooseConfig, findConfigs } from "./find.ts";

test("configurations are found in the specification's order, one level deep", () => {
  const found = findConfigs([
    "README.md",
    ".devcontainer/web/devcontainer.json",
    ".devcontainer/web/deep/devcontainer.json",
    "packages/a/.devcontainer/devcontainer.json",
    ".devcontainer/api/devcontainer.json",
    ".devcontainer.json",
    ".devcontainer/devcontainer.json",
    "devcontainer.json",
    ".devcontainer//devcontainer.json",
  ]);
  expect(found).toEqual([
    { path: ".devcontainer/devcontainer.json" },
    { path: ".devcontainer.json" },
    { path: ".devcontainer/api/devcontainer.json", folder: "api" },
    { path: ".devcontainer/web/devcontainer.json", folder: "web" },
  ]);
});

const api = { path: ".devcontainer/api/devcontainer.json", folder: "api" };
const web = { path: ".devcontainer/web/devcontainer.json", folder: "web" };
const usual = { path: ".devcontainer/devcontainer.json" };

test("one is chosen by its folder or path, and without a name where it is clear which", () => {
  expect(chooseConfig([api, web], "web")).toBe(web);
  expect(chooseConfig([usual, api], api.path)).toBe(api);
  expect(chooseConfig([api])).toBe(api);
  expect(chooseConfig([usual, { path: ".devcontainer.json" }, api])).toBe(usual);
});

test("choosing says what there is", () => {
  expect(() => chooseConfig([])).toThrow(
    "there is no devcontainer.json: looked for .devcontainer/devcontainer.json, .devcontainer.json and .devcontainer/FOLDER/devcontainer.json",
  );
  expect(() => chooseConfig([api, web])).toThrow("one configuration must be chosen by its name: there are api, web");
  expect(() => chooseConfig([usual], "api")).toThrow(
    'there is no configuration "api": there is .devcontainer/devcontainer.json',
  );
  expect(() => chooseConfig([api, web])).toThrow(expect.objectContaining({ code: "failed_precondition" }));
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { devcontainerId, substituteContainer, substituteLocal } from "./variables.ts";

const local = {
  localEnv: { HOME: "/home/me", EMPTY: "" },
  localWorkspaceFolder: "/home/me/project",
  containerWorkspaceFolder: "/workspaces/project",
  devcontainerId: "id1",
};
const seed = 20_261_127;

describe("before a machine runs", () => {
  test.each([
    ["${localEnv:HOME}/x", "/home/me/x"],
    ["${localEnv:NOBODY}", ""],
    ["${localEnv:NOBODY:http://proxy.example:3128}", "http"],
    ["${env:HOME} ${env:NOBODY:none}", "/home/me none"],
    ["${localEnv:EMPTY:fallback}", ""],
    ["${localEnv:toString}", ""],
    ["${localWorkspaceFolder} ${localWorkspaceFolderBasename}", "/home/me/project project"],
    ["${containerWorkspaceFolder} ${containerWorkspaceFolderBasename}", "/workspaces/project project"],
    ["x-${devcontainerId}", "x-id1"],
    [
      "${containerEnv:PATH} ${HOME} ${localEnv} ${localEnv:} $HOME ${unclosed",
      "${containerEnv:PATH} ${HOME} ${localEnv} ${localEnv:} $HOME ${unclosed",
    ],
  ])("%s", (text, expected) => {
    expect(substituteLocal(text, local)).toBe(expected);
  });

  test("deep in values, but not in names", () => {
    const value = { "${localWorkspaceFolder}": ["${localEnv:HOME}", 3, null, { a: "${devcontainerId}" }] };
    expect(substituteLocal(value, local)).toEqual({ "${localWorkspaceFolder}": ["/home/me", 3, null, { a: "id1" }] });
  });

  test("what is put in is not looked at again, and what is not known is left", () => {
    const tricky = { localEnv: { A: "${localEnv:B}", B: "b" }, localWorkspaceFolder: "C:\\Users\\me\\project\\" };
    expect(substituteLocal("${localEnv:A}", tricky)).toBe("${localEnv:B}");
    expect(substituteLocal("${localWorkspaceFolderBasename}", tricky)).toBe("project");
    const unknown = "${containerWorkspaceFolder} ${containerWorkspaceFolderBasename} ${devcontainerId}";
    expect(substituteLocal(unknown, tricky)).toBe(unknown);
  });
});

test("once a machine runs, only its environment is put in", () => {
  const text = "${containerEnv:PATH}:/x ${containerEnv:NOBODY:a:b} ${localEnv:HOME}";
  expect(substituteContainer({ PATH: text }, { containerEnv: { PATH: "/bin" } })).toEqual({
    PATH: "/bin:/x a ${localEnv:HOME}",
  });
});

test("text without variables stays as it is", () => {
  const texts = fc.jsonValue().filter((value) => !JSON.stringify(value).includes("${"));
  fc.assert(
    fc.property(texts, (value) => {
      const once = substituteLocal(value, local);
      expect(once).toEqual(value);
      expect(substituteLocal(once, local)).toEqual(once);
      expect(substituteContainer(value, { containerEnv: {} })).toEqual(value);
    }),
    { seed },
  );
});

describe("the identifier", () => {
  test("is 52 digits of base 32 over the sorted labels", () => {
    const id = devcontainerId({ b: "2", a: "1" });
    expect(id).toMatch(/^[0-9a-v]{52}$/);
    expect(id).toBe(devcontainerId({ a: "1", b: "2" }));
    expect(id).not.toBe(devcontainerId({ a: "1", b: "3" }));
  });

  test("is what another implementation computes", () => {
    expect(devcontainerId({ "devcontainer.local_folder": "/home/me/project" })).toBe(
      "0m0dipmurc7njg21e0pv8ni3n01u7mjl5dltunfi6ag57un8mgc1",
    );
  });
});

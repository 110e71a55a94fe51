import { expect, test } from "vitest";
import { workspaceOf } from "./workspace.ts";

const options = { localEnv: {}, localWorkspaceFolder: "/home/me/project" };

test("without a word the repository lies under its name, or where the caller says", () => {
  expect(workspaceOf({ image: "x" }, options)).toEqual({ folder: "/workspaces/project" });
  expect(workspaceOf({ image: "x" }, { ...options, defaultFolder: "/workspace" })).toEqual({ folder: "/workspace" });
});

test("folder and mount have their variables replaced", () => {
  const config = {
    image: "x",
    workspaceFolder: "/src/${localWorkspaceFolderBasename}",
    workspaceMount: "type=bind,source=${localWorkspaceFolder}/sub,target=${containerWorkspaceFolder}",
  };
  expect(workspaceOf(config, options)).toEqual({
    folder: "/src/project",
    mount: { type: "bind", source: "/home/me/project/sub", target: "/src/project", readonly: false, options: {} },
  });
  expect(workspaceOf({ ...config, workspaceMount: "" }, options)).toEqual({ folder: "/src/project" });
});

test("Compose opens / by itself and knows no mount", () => {
  const compose = { dockerComposeFile: "c.yml", service: "app" };
  expect(workspaceOf({ ...compose, workspaceMount: "target=/x" }, options)).toEqual({ folder: "/" });
  expect(workspaceOf({ ...compose, workspaceFolder: "/w" }, options)).toEqual({ folder: "/w" });
});

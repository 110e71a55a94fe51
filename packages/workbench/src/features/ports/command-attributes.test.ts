import type { Workspace } from "@dormouse/contract";
import { expect, test } from "vitest";
import { attributesByCommand } from "./command-attributes.ts";

const defined = {
  portsAttributes: {
    "3000": { label: "by number" },
    "8000-8010": { onAutoForward: "silent" },
    "vite( |$)": { label: "Vite", onAutoForward: "openPreview" },
    "(": { label: "not an expression" },
  },
} as unknown as Workspace["devcontainer"];

test("a command line decides where no number does", () => {
  expect(attributesByCommand(defined, 5173, "node node_modules/.bin/vite --host")).toEqual({
    label: "Vite",
    onAutoForward: "openPreview",
  });
  expect(attributesByCommand(defined, 5173, "node server.js")).toEqual({});
  expect(attributesByCommand(defined, 3000, "vite")).toEqual({});
  expect(attributesByCommand(defined, 8005, "vite")).toEqual({});
  expect(attributesByCommand(defined, 5173, null)).toEqual({});
  expect(attributesByCommand(null, 5173, "vite")).toEqual({});
});

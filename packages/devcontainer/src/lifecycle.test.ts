import { expect, test } from "vitest";
import type { LifecycleHook } from "./config.ts";
import { lifecyclePlan } from "./lifecycle.ts";
import { mergeConfig } from "./merge.ts";

test("steps in their order, features' commands before the file's, in every form", () => {
  // The specification's own example ("Allow Dev Container Features to contribute lifecycle scripts").
  const merged = mergeConfig({
    features: [
      {
        id: "featureA",
        onCreateCommand: "myOnCreate.sh && myOnCreate2.sh",
        postCreateCommand: "myPostCreate.sh",
        postAttachCommand: { command01: "myPostAttach.sh arg01", command02: "myPostAttach.sh arg02" },
      },
      { id: "featureB", postCreateCommand: ["/usr/myDir/bundledScript.sh"] },
    ],
    config: {
      image: "registry.example/base",
      initializeCommand: "echo host",
      postCreateCommand: "userPostCreate.sh",
      postAttachCommand: { server: "npm start", db: ["mysql", "-u", "root", "-p", "my database"] },
    },
  });
  const { steps, waitFor } = lifecyclePlan(merged);
  expect(waitFor).toBe("updateContentCommand");
  expect(steps.map(({ hook, tasks }) => [hook, tasks])).toEqual([
    ["initializeCommand", [{ from: "devcontainer.json", commands: [{ kind: "shell", line: "echo host" }] }]],
    ["onCreateCommand", [{ from: "featureA", commands: [{ kind: "shell", line: "myOnCreate.sh && myOnCreate2.sh" }] }]],
    ["updateContentCommand", []],
    [
      "postCreateCommand",
      [
        { from: "featureA", commands: [{ kind: "shell", line: "myPostCreate.sh" }] },
        { from: "featureB", commands: [{ kind: "exec", argv: ["/usr/myDir/bundledScript.sh"] }] },
        { from: "devcontainer.json", commands: [{ kind: "shell", line: "userPostCreate.sh" }] },
      ],
    ],
    ["postStartCommand", []],
    [
      "postAttachCommand",
      [
        {
          from: "featureA",
          commands: [
            { name: "command01", kind: "shell", line: "myPostAttach.sh arg01" },
            { name: "command02", kind: "shell", line: "myPostAttach.sh arg02" },
          ],
        },
        {
          from: "devcontainer.json",
          commands: [
            { name: "server", kind: "shell", line: "npm start" },
            { name: "db", kind: "exec", argv: ["mysql", "-u", "root", "-p", "my database"] },
          ],
        },
      ],
    ],
  ]);
});

test("each step has its occasions, and the host's is run nowhere", () => {
  const { steps } = lifecyclePlan(mergeConfig({ config: {} }));
  expect(Object.fromEntries(steps.map(({ hook, occasions }) => [hook, occasions]))).toEqual({
    initializeCommand: ["create", "start"],
    onCreateCommand: ["prebuild", "create"],
    updateContentCommand: ["prebuild", "create"],
    postCreateCommand: ["create"],
    postStartCommand: ["start"],
    postAttachCommand: ["attach"],
  });
  expect(steps.filter(({ runsIn }) => runsIn === "nowhere").map(({ hook }) => hook)).toEqual(["initializeCommand"]);
});

test.each<[waitFor: "initializeCommand" | "postCreateCommand" | "postStartCommand" | undefined, last: LifecycleHook]>([
  [undefined, "updateContentCommand"],
  ["initializeCommand", "initializeCommand"],
  ["postCreateCommand", "postCreateCommand"],
  ["postStartCommand", "postStartCommand"],
])("with waitFor %s the last step that is waited for is %s", (waitFor, last) => {
  const { steps } = lifecyclePlan(mergeConfig({ config: waitFor === undefined ? {} : { waitFor } }));
  expect(steps.findLast(({ blocking }) => blocking)?.hook).toBe(last);
  expect(steps.findIndex(({ blocking }) => !blocking)).toBe(steps.findLastIndex(({ blocking }) => blocking) + 1);
});

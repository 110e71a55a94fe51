import { expect, test } from "vitest";
import { mergeConfig } from "./merge.ts";
import { probeShellOf, remoteEnvironment, usersOf } from "./users.ts";

test("users fall back: remote to container, container to the image, the image to root", () => {
  expect(usersOf({})).toEqual({ containerUser: "root", remoteUser: "root" });
  expect(usersOf({}, "node")).toEqual({ containerUser: "node", remoteUser: "node" });
  expect(usersOf({ containerUser: "app" }, "node")).toEqual({ containerUser: "app", remoteUser: "app" });
  expect(usersOf({ remoteUser: "dev" }, "node")).toEqual({ containerUser: "node", remoteUser: "dev" });
});

test("the probed shell", () => {
  expect(probeShellOf({})).toEqual({ login: true, interactive: true });
  expect(probeShellOf({ userEnvProbe: "loginShell" })).toEqual({ login: true, interactive: false });
  expect(probeShellOf({ userEnvProbe: "interactiveShell" })).toEqual({ login: false, interactive: true });
  expect(probeShellOf({ userEnvProbe: "none" })).toBeUndefined();
});

test("the environment: the container's, the shell's, remoteEnv", () => {
  const merged = mergeConfig({
    config: { remoteEnv: { PATH: "${containerEnv:PATH}:/x", GONE: null, WHO: "${containerEnv:WHO:nobody}" } },
  });
  const environment = { containerEnv: { PATH: "/bin", GONE: "1" }, probedEnv: { PATH: "/bin:/home", LANG: "C" } };
  expect(remoteEnvironment(merged, environment)).toEqual({ PATH: "/bin:/x", LANG: "C", WHO: "nobody" });
});

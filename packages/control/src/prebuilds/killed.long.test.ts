// What was being prebuilt when control was killed is prebuilt after all.
import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startControlProcess } from "../testing/control-process.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
  // From here on control is a process of its own on the same database and host.
  await platform.control[Symbol.asyncDispose]();
});
afterAll(async () => resources[Symbol.asyncDispose]());

test.each(["clone", "snapshot"] as const)(
  "killed at the %s of a prebuild, control makes it after all, once",
  async (step) => {
    const { host, config, apiKey } = platform;
    const commit = "1".repeat(40);
    host.behaviour.run = (line) => (line === "git rev-parse HEAD" ? `${commit}\n` : undefined);
    resources.add(() => {
      host.behaviour.run = undefined;
    });
    host.files.set("/etc/environment", "PATH=/bin\n");
    const set = { onCreateCommand: "install", userEnvProbe: "none" };
    host.files.set(`/workspaces/at-${step}/.devcontainer.json`, JSON.stringify(set));
    let control = await startControlProcess(config);
    resources.add(() => control.kill());
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    const ask = (method: string, path: string, body?: object) =>
      fetch(`${control.url}${path}`, { method, headers, body: body ? JSON.stringify(body) : null });
    const killed = new Promise<void>((resolve) => {
      host.behaviour.before = async (what) => {
        if (what !== step) return;
        host.behaviour.before = undefined;
        await control.kill();
        resolve();
      };
    });
    const asked = await ask("POST", "/api/prebuilds", { repository: `https://git.example/at-${step}.git` });
    expect(asked.status).toBe(201);
    const { id } = (await asked.json()) as { id: string };
    await killed;
    control = await startControlProcess(config);
    const prebuild = async () => (await ask("GET", `/api/prebuilds/${id}`)).json();
    await vi.waitFor(async () => expect(await prebuild()).toMatchObject({ state: "ready", commit, problem: null }), {
      timeout: 30_000,
      interval: 100,
    });
    // Neither a machine of the first attempt nor one of the second is left.
    await vi.waitFor(() => expect([...host.machines.keys()]).toEqual([]), { timeout: 20_000 });
    expect(await (await ask("GET", "/api/workspaces")).json()).toEqual({ workspaces: [] });
    await ask("DELETE", `/api/prebuilds/${id}`);
    await control.kill();
  },
);

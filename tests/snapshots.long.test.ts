// What `snapshots.test.ts` leaves out for its time.
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { expectGoingOn, startHasher } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0, snapshotEveryMs: 10_000 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe("the newest snapshot", () => {
  it("is what a killed machine comes back from, by itself", async () => {
    const workspace = await Workspace.create({ connection: platform.connection, name: "mortal" });
    await startHasher(workspace);
    const snapshot = await eventually(
      "it has lived and was kept",
      async () => {
        const [newest] = await workspace.snapshots();
        const age = Date.now() - Date.parse(workspace.info.startedAt ?? "");
        return newest && age > 31_000 && newest;
      },
      90_000,
    );
    const { machines } = await platform.hostCall<{ machines: { workspaceId: string; pid: number }[] }>(
      "machines/list",
      {},
    );
    process.kill(machines.find(({ workspaceId }) => workspaceId === workspace.id)?.pid ?? 0, "SIGKILL");
    const back = await eventually("it is back", async () => {
      const { info } = await workspace.refresh();
      return info.state === "running" && info.reason !== null && info;
    });
    expect(back.reason).toMatch(/it goes on from its snapshot of .* before$/);
    await expectGoingOn(workspace, 1);
    expect(snapshot.reason).toBe("periodic");
  });
});

// What dies comes back: host daemon, control, gateway, a machine. And what must not leave a machine does not, meanwhile neither.
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EgressWorld, pretendEgressWorld } from "../packages/network/src/testing/pretend-egress.ts";
import { attempt, expectNoWayOut, prepareAttempts, startTraffic } from "./support/egress-machine.ts";
import { killEgressProgram } from "./support/egress-programs.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let world: EgressWorld;
let platform: TestPlatform;
beforeAll(async () => {
  world = await pretendEgressWorld("dmegmach");
  platform = await startTestPlatform({ poolSize: 1, resolver: world.internet.address });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** Kills a part and waits until its successor runs. */
async function killService(name: "host" | "control" | "gateway"): Promise<void> {
  const service = platform.platform.services[name];
  const before = service.pid;
  if (before === undefined) throw new Error(`${name} does not run`);
  process.kill(before, "SIGKILL");
  await eventually(`${name} runs again`, async () => service.pid !== undefined && service.pid !== before);
}

describe("a killed part of the platform", () => {
  it("host: the machine runs on, its terminal and its background process too", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    const counter = await workspace.exec("n=0; while :; do n=$((n+1)); echo $n > count; sleep 0.2; done", {
      background: true,
    });
    const terminal = await workspace.pty.create({ cols: 80, rows: 24, onData: () => {} });
    await terminal.sendInput("echo before-the-$((40+2))\n");
    const { stdout: bootId } = await workspace.exec("cat /proc/sys/kernel/random/boot_id");
    await killService("host");
    const after = await eventually("the workspace answers again", () =>
      workspace.exec("cat /proc/sys/kernel/random/boot_id"),
    );
    expect(after.stdout).toBe(bootId);
    let scrollback = "";
    const again = await workspace.pty.attach(terminal.id, { onData: (data) => (scrollback += data) });
    await eventually("the scrollback comes back", async () => scrollback.includes("before-the-42"));
    const { stdout: first } = await workspace.exec("cat count");
    await eventually("the counter goes on", async () => {
      const { stdout } = await workspace.exec("cat count");
      return Number(stdout) > Number(first);
    });
    await again.kill();
    await counter.kill();
  });

  it("control: what was acknowledged is there, and new work is taken", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection, name: "acknowledged" });
    await killService("control");
    const found = await eventually("control answers again", () => Workspace.connect("acknowledged", { connection }));
    expect(found.id).toBe(workspace.id);
    expect((await found.exec("echo alive")).stdout).toBe("alive\n");
    found.close();
  });

  it("gateway: clients go on after a pause", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    await killService("gateway");
    const result = await eventually("the gateway answers again", () => workspace.exec("echo alive"));
    expect(result.stdout).toBe("alive\n");
  });
});

describe("what leaves a machine", () => {
  it("is what its policy lets through, whatever is tried, also while all that enforces it is killed", async () => {
    await using workspace = await Workspace.create({ connection: platform.connection });
    await prepareAttempts(workspace);
    await expectNoWayOut(workspace, world);

    const traffic = await startTraffic(workspace, 12);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const { pid } = platform.platform.services.host;
    if (pid === undefined) throw new Error("the host does not run");
    for (const program of ["egress-proxy", "egress-maps"] as const) await killEgressProgram(pid, program);
    await killService("host");
    const { allowed, forbidden, longestGapSeconds } = await traffic();
    console.log(`${allowed} answered, at most ${longestGapSeconds} s without an answer`);
    expect(allowed).toBeGreaterThan(0);
    expect(forbidden).toBe(0);
    expect(await attempt(workspace, ["TLS to an allowed name"])).toMatchObject([{ outcome: "answered" }]);
    expect((await world.forbidden()).forbidden).toEqual([]);
  });
});

describe("a killed machine", () => {
  it("is said to have failed, with the reason, and boots again from its drive", async () => {
    const { connection } = platform;
    await using workspace = await Workspace.create({ connection });
    await workspace.exec("echo kept > /workspace/kept.txt && sync");
    const { machines } = await platform.hostCall<{ machines: { workspaceId: string; pid: number }[] }>(
      "machines/list",
      {},
    );
    const machine = machines.find(({ workspaceId }) => workspaceId === workspace.id);
    if (!machine) throw new Error("the host does not know the machine");
    process.kill(machine.pid, "SIGKILL");
    const failed = await eventually("it is failed", async () => {
      const { info } = await workspace.refresh();
      return info.state === "failed" && info;
    });
    expect(failed.reason).toMatch(/kill|end/i);
    await workspace.wake();
    expect((await workspace.exec("cat /workspace/kept.txt")).stdout).toBe("kept\n");
  });
});

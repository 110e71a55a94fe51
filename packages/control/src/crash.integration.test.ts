import { disposer } from "@dormouse/base";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type ControlProcess, startControlProcess } from "./testing/control-process.ts";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "./testing/platform.ts";

const resources = disposer();
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform(resources, await startTestPostgres(resources));
  // From here on control is a process of its own on the same database and host.
  await platform.control[Symbol.asyncDispose]();
});
afterAll(async () => resources[Symbol.asyncDispose]());

/** Points within the host's part of the work; between them lie the database's writes. */
const steps = ["create", "clone", "delete"] as const;
const rounds = Number(process.env.ROUNDS) || 3;
/** Printed with a failure; `DORMOUSE_SEED` repeats a run. */
const seed = Number(process.env.DORMOUSE_SEED ?? 20_261_122);

test(`killed at any point of creating and deleting, control finishes what was begun (seed ${seed})`, async () => {
  const { host, config, apiKey } = platform;
  const random = mulberry32(seed);
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  let control: ControlProcess = await startControlProcess(config);
  resources.add(() => control.kill());

  for (let round = 0; round < rounds; round++) {
    const step = steps[Math.floor(random() * steps.length)] ?? "create";
    const isAfter = random() < 0.5;
    const delayTurns = Math.floor(random() * 40);
    const name = `round-${round}`;
    const killed = new Promise<void>((resolve) => {
      host.behaviour.before = async (what) => {
        if (what !== step) return;
        host.behaviour.before = undefined;
        if (!isAfter) {
          // While the host has yet to act: the call is cut off, and what it asked for may still happen.
          await control.kill();
        } else {
          // Around the answer and the write that follows it.
          void turns(delayTurns).then(() => control.kill().then(resolve));
          return;
        }
        resolve();
      };
    });
    const body = { name, repository: `https://example.test/${name}.git`, wait: random() < 0.5 };
    const ask = (method: string, path: string, content?: unknown) =>
      fetch(`${control.url}${path}`, { method, headers, body: content === undefined ? null : JSON.stringify(content) });
    const asked = (async () => {
      await ask("POST", "/api/workspaces", body);
      // `wait: false` answers before the machine is there; deletion is accepted at any time.
      if (step === "delete") await ask("DELETE", `/api/workspaces/${name}`);
    })().catch(() => {
      // The connection broke with the process; what was acknowledged shows below.
    });
    await Promise.all([killed, asked]);
    host.behaviour.before = undefined;

    control = await startControlProcess(config);
    const where = `seed ${seed}, round ${round}: killed ${isAfter ? "after" : "before"} ${step}`;
    await vi.waitFor(
      async () => {
        const response = await ask("GET", "/api/workspaces");
        const { workspaces } = (await response.json()) as { workspaces: { id: string; name: string; state: string }[] };
        const mine = workspaces.find((workspace) => workspace.name === name);
        if (step === "delete") expect(mine, where).toBeUndefined();
        else expect(mine?.state, where).toBe("running");
        const running = workspaces.map((workspace) => workspace.id).sort();
        expect([...host.machines.keys()].sort(), where).toEqual(running);
      },
      { timeout: 20_000, interval: 25 },
    );
    if (step !== "delete") expect((await ask("DELETE", `/api/workspaces/${name}`)).status, where).toBe(200);
  }
  expect(host.machines.size).toBe(0);
  await control.kill();
});

test("ends with its parent, and leaves a database that the next start takes up", async () => {
  const control = await startControlProcess(platform.config);
  resources.add(() => control.kill());
  const gone = new Promise((resolve) => control.child.once("exit", (code) => resolve(code)));
  control.child.disconnect();
  expect(await gone).toBe(0);
});

/** Gives the event loop some turns, so that answers and writes proceed by as much. */
async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve));
}

/** A small seeded generator, so that one number repeats a run. */
function mulberry32(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

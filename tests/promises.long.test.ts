// Promises 1 to 3 as often as they should be tried; tests/snapshots.test.ts has the short version of each.
import { Workspace } from "@dormouse/sdk";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { expectGoingOn, output, startHasher } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const clones = 20;
const drawsPerClone = 10_000;
const sleeps = 50;
const clockToleranceMs = 50;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());
afterEach(async () => {
  for (const { id } of await Workspace.list({ connection: platform.connection })) {
    await Workspace.kill(id, { connection: platform.connection });
  }
});

const create = (name: string) => Workspace.create({ connection: platform.connection, name });

it(`${clones} clones of one snapshot draw ${drawsPerClone} random numbers each, none twice`, async () => {
  const parent = await create("parent");
  const { id: snapshot } = await parent.snapshot({ name: "common" });
  const drawn = new Set<string>();
  const identities = new Set<string>();
  // As many at once as have room.
  for (let made = 0; made < clones; ) {
    const forks = await parent.fork({ snapshot, name: `clone-${made}`, count: Math.min(10, clones - made) });
    for (const { workspace, error } of forks) {
      if (!workspace) throw error;
      // The first thing that a user's process does there: no draw of the snapshot's may come before.
      const draws = await output(
        workspace,
        `head -c ${16 * drawsPerClone} /dev/urandom | od -An -v -tx1 -w16 | tr -d ' '`,
      );
      const numbers = draws.split("\n");
      expect(numbers).toHaveLength(drawsPerClone);
      for (const number of numbers) drawn.add(number);
      const ids = await output(workspace, "cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname");
      for (const id of ids.split("\n")) identities.add(id);
      made++;
    }
    await Promise.all(forks.map(({ workspace }) => workspace?.kill()));
  }
  expect(drawn.size).toBe(clones * drawsPerClone);
  expect(identities.size).toBe(clones * 3);
});

/**
 * How far a machine's clock is off at most, woken already: between asking and the answer lies a moment in which it must
 * have been right, and all of many together say most. A program that waits for the question answers soonest.
 */
async function clockErrorMs(workspace: Workspace): Promise<number> {
  let answered: PromiseWithResolvers<string> | undefined;
  const clock = await workspace.exec(["bash", "-c", "while read -r; do echo $EPOCHREALTIME; done"], {
    background: true,
    stdin: true,
    onStdout: (text) => answered?.resolve(text),
  });
  let leastMs = Number.NEGATIVE_INFINITY;
  let mostMs = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < 40; sample++) {
    answered = Promise.withResolvers();
    const beforeMs = Date.now();
    await clock.sendStdin("\n");
    const guestMs = Number(await answered.promise) * 1000;
    // Until the end of the millisecond that it reads.
    const afterMs = Date.now() + 1;
    leastMs = Math.max(leastMs, guestMs - afterMs);
    mostMs = Math.min(mostMs, guestMs - beforeMs);
  }
  await clock.kill();
  return Math.max(-leastMs, mostMs);
}

it(`the clock is right within ${clockToleranceMs} ms after any sleep, however wrong it was before`, async () => {
  const workspace = await create("clockwork");
  for (const sleepMs of [1_000, 60_000]) {
    await workspace.hibernate();
    await new Promise((resolve) => setTimeout(resolve, sleepMs));
    expect(await clockErrorMs(workspace), `after ${sleepMs} ms`).toBeLessThanOrEqual(clockToleranceMs);
  }
  for (const days of [30, -30]) {
    await output(workspace, `sudo date -s "${days} days" >/dev/null`);
    expect(await clockErrorMs(workspace)).toBeGreaterThan(29 * 86_400_000);
    await workspace.hibernate();
    expect(await clockErrorMs(workspace), `${days} days off`).toBeLessThanOrEqual(clockToleranceMs);
  }
});

it(`the clock is right within ${clockToleranceMs} ms after 60 snapshots, each of which it stood still for`, async () => {
  const workspace = await create("kept-often");
  for (let count = 0; count < 60; count++) await workspace.snapshot();
  expect(await clockErrorMs(workspace)).toBeLessThanOrEqual(clockToleranceMs);
});

it(`memory and files are what they were after each of ${sleeps} sleeps`, async () => {
  const workspace = await create("sleeper");
  await startHasher(workspace, 64);
  await output(workspace, "head -c 32000000 /dev/urandom > blob && sync && sha256sum blob > blob.sum");
  const bootId = await output(workspace, "cat /proc/sys/kernel/random/boot_id");
  let rounds = 0;
  for (let cycle = 0; cycle < sleeps; cycle++) {
    await workspace.hibernate();
    rounds = await expectGoingOn(workspace, rounds);
    // From the drive, not from the memory that came back.
    const compare =
      "sync && echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null && sha256sum --check --quiet blob.sum";
    await output(workspace, compare);
    expect(await output(workspace, "cat /proc/sys/kernel/random/boot_id")).toBe(bootId);
  }
  await eventually("the last sleep is on the timeline", async () => {
    const [newest] = await workspace.snapshots();
    return newest?.reason === "hibernate";
  });
});

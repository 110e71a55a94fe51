import { expect, test } from "vitest";
import { chooseVictims, defaultCleaning } from "./choose-victims.ts";

const mib = 1024 * 1024;
const pack = (id: string, bytes: number, liveBytes: number) => ({ id, bytes, liveBytes });

test("packs that are mostly dead are emptied", () => {
  const packs = [pack("dead", 64 * mib, 15 * mib), pack("alive", 64 * mib, 17 * mib), pack("gone", mib, 1)];
  expect([...chooseVictims(packs, defaultCleaning)]).toEqual(["dead", "gone"]);
  expect(chooseVictims(packs, { ...defaultCleaning, minLiveFraction: 0 }).size).toBe(0);
});

test("of too many small packs the smaller half is merged; large ones stay, however many", () => {
  const small = Array.from({ length: 33 }, (_, index) => pack(`s${index}`, mib + index, mib + index));
  const large = Array.from({ length: 500 }, (_, index) => pack(`l${index}`, 60 * mib, 50 * mib));
  expect(chooseVictims([...large, ...small.slice(1)], defaultCleaning).size).toBe(0);
  const victims = chooseVictims([...large, ...small], defaultCleaning);
  expect([...victims].sort()).toEqual(
    small
      .slice(0, 17)
      .map(({ id }) => id)
      .sort(),
  );
});

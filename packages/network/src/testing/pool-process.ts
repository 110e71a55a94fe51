// A platform's process for tests that kill it: opens a pool, takes slots, says which, and stays.
import { createLogger } from "@dormouse/base";
import { createSlotPool } from "../slot-pool.ts";

const [namePrefix = "", size = "", take = ""] = process.argv.slice(2);
const pool = await createSlotPool({
  namePrefix,
  uidBase: 720_000,
  size: Number(size),
  max: 200,
  logger: createLogger({ write: console.error }),
});
const slots = await Promise.all(Array.from({ length: Number(take) }, () => pool.allocate()));
process.send?.(slots);
// The parent's end of the channel keeps this process, and the parent kills it.
process.on("disconnect", () => process.exit(1));

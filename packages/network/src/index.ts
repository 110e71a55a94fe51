export { candidateRanges } from "./address-range.ts";
export { type NetworkFeature, networkFeatures } from "./doctor.ts";
export { inner, maxSlots, type Slot } from "./slot.ts";
export { createSlotPool, type SlotPool } from "./slot-pool.ts";
export type { SlotPoolOptions } from "./slot-pool-options.ts";

export { candidateRanges } from "./address-range.ts";
export { type NetworkFeature, networkFeatures } from "./doctor.ts";
export type { AuthorityCertificate } from "./egress/authority.ts";
export type { Refusal } from "./egress/engine.ts";
export type { EgressCounters } from "./egress/filter.ts";
export type { MachineSecrets } from "./egress/secrets.ts";
export { inner, maxSlots, type Slot } from "./slot.ts";
export { createSlotPool, type SlotPool } from "./slot-pool.ts";
export type { SlotPoolOptions } from "./slot-pool-options.ts";

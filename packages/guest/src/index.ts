export { type BuildGuestOptions, buildGuest, type GuestPrograms } from "./build.ts";
export {
  connectGuestChannel,
  createGuestClient,
  type GuestAddress,
  type GuestChannel,
  type GuestClient,
} from "./client.ts";
export {
  type Command,
  type CommandDefaults,
  type CommandOptions,
  launch,
  requestOf,
  resultOf,
  waitForExit,
} from "./process/command.ts";
export { createSpawner, type Spawner } from "./process/spawner.ts";
export { encodeFrame, frame, spawnerPort } from "./process/spawner-protocol.ts";
export { type WarmOptions, warmGuest } from "./warm.ts";

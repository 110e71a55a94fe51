import { expect, test } from "vitest";
import { type ExitFacts, exitOf } from "./exit.ts";

const nothing: ExitFacts = { isRequested: false, outOfMemoryKills: 0, log: "", console: "" };

test.each<[string, Partial<ExitFacts>, string, string]>([
  ["asked for", { isRequested: true, outOfMemoryKills: 1 }, "requested", "the host ended the machine"],
  ["out of memory", { outOfMemoryKills: 1 }, "out_of_memory", "the VMM used more memory than its limit"],
  [
    "guest's own words",
    { console: "x\r\ndormouse: boot failed: no vda\r\n" },
    "failed",
    "dormouse: boot failed: no vda",
  ],
  ["panic", { console: "[    1.0] Kernel panic - not syncing: y\r\n" }, "guest_panic", "Kernel panic - not syncing: y"],
  ["shutdown", { shutdown: { guest: true, reason: "guest-shutdown" } }, "guest_shutdown", "the guest shut itself down"],
  ["reset", { shutdown: { guest: true, reason: "guest-reset" } }, "guest_reboot", "the guest rebooted"],
  ["signal", { shutdown: { guest: false, reason: "host-signal" } }, "killed", "ended by a signal from outside"],
  ["VMM's last words", { log: "one\nqemu: no room\n" }, "failed", "the VMM failed: qemu: no room"],
  ["silence", {}, "killed", "the VMM was killed from outside"],
])("%s", (_, facts, reason, message) => {
  const exit = exitOf({ ...nothing, ...facts });
  expect(exit.reason).toBe(reason);
  expect(exit.message).toContain(message);
});

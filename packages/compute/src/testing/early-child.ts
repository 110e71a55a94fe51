// Started by a test, which kills it: has a VMM wait for a machine, and waits itself.
// Arguments: machines folder, slot as JSON.
import { createQemuVmm } from "../qemu/driver.ts";
import type { MachineSlot } from "../vmm.ts";

const [machinesDir = "", slot = ""] = process.argv.slice(2);
const vmm = await createQemuVmm({ machinesDir, accelerator: "tcg" });
await vmm.startEarly(JSON.parse(slot) as MachineSlot);
process.stdout.write("it waits\n");
setInterval(() => {}, 1_000_000);

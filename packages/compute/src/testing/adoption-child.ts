// Started by a test, which kills it: restores a machine and then does nothing more.
// Arguments: machines folder, restore spec as JSON.
import { createQemuVmm } from "../qemu/driver.ts";
import type { RestoreSpec } from "../vmm.ts";

const [machinesDir = "", spec = ""] = process.argv.slice(2);
const vmm = await createQemuVmm({ machinesDir, accelerator: "tcg" });
const machine = await vmm.restore(JSON.parse(spec) as RestoreSpec);
process.stdout.write(`${machine.pid}\n`);
setInterval(() => {}, 1_000_000);

// Started by a test, which kills it: adopts a machine and captures it without end.
// Arguments: machines folder, machine id, folder for captures.
import { createQemuVmm } from "../qemu/driver.ts";

const [machinesDir = "", id = "", folder = ""] = process.argv.slice(2);
const vmm = await createQemuVmm({ machinesDir, accelerator: "tcg" });
const machine = await vmm.adopt(id);
for (;;) {
  await using capture = await machine.capture({ folder });
  process.stdout.write("captured\n");
  await capture.confirm();
}

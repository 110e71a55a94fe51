// Prints `{ kernel, initramfs }` as JSON, building them when they are missing: for
// tests and benches of packages that boot guests and may not import this one.
import { buildInitramfs } from "./initramfs.ts";
import { buildKernel } from "./kernel.ts";

const kernel = await buildKernel();
const initramfs = await buildInitramfs(kernel);
process.stdout.write(`${JSON.stringify({ kernel: kernel.vmlinux, initramfs: initramfs.path })}\n`);

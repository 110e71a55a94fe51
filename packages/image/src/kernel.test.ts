import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { loadOrder, parseModulesDep } from "./initramfs.ts";
import { extractKernel } from "./kernel.ts";

/** A bzImage as the boot protocol describes it: header, setup code, payload, its size. */
function bzImage(payload: Buffer): Buffer {
  const head = Buffer.alloc(3 * 512);
  head.writeUInt8(2, 0x1f1);
  head.write("HdrS", 0x202, "latin1");
  head.writeUInt32LE(64, 0x248);
  head.writeUInt32LE(payload.length + 4, 0x24c);
  return Buffer.concat([head, Buffer.alloc(64), payload, Buffer.alloc(4), Buffer.from("trailer")]);
}

test("the ELF kernel is taken out of a bzImage", async () => {
  const elf = Buffer.concat([Buffer.from("\x7fELF", "latin1"), Buffer.alloc(5000, 1)]);
  expect((await extractKernel(bzImage(zstdCompressSync(elf)))).equals(elf)).toBe(true);
});

test("anything else is refused by name", async () => {
  await expect(extractKernel(Buffer.from("MZ"))).rejects.toThrow("no HdrS header");
  await expect(extractKernel(bzImage(Buffer.alloc(100)))).rejects.toThrow("not compressed with zstd");
  await expect(extractKernel(bzImage(zstdCompressSync("text")))).rejects.toThrow("the kernel's payload is no ELF file");
});

const modulesDep = `kernel/net/core/failover.ko.xz:
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/drivers/char/hw_random/virtio-rng.ko:
`;

test("modules are loaded after all they need, each once", () => {
  const order = loadOrder(parseModulesDep(modulesDep), ["virtio_rng", "virtio_net", "net_failover"]);
  expect(order).toEqual([
    "kernel/drivers/char/hw_random/virtio-rng.ko",
    "kernel/net/core/failover.ko.xz",
    "kernel/drivers/net/net_failover.ko.xz",
    "kernel/drivers/net/virtio_net.ko.xz",
  ]);
});

test("a module that the kernel lacks is named", () => {
  expect(() => loadOrder(parseModulesDep(modulesDep), ["virtio_gpu"])).toThrow(
    "the guest kernel has no module virtio_gpu",
  );
});

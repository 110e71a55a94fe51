import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { DormouseError } from "@dormouse/base";
import { contentHash, run } from "@dormouse/base/node";
import { type BuildContext, cached } from "./cache.ts";
import { downloadDependency, hostMirror } from "./debian.ts";

/** Raised when what this file makes changes, so that older artefacts are not taken for it. */
const recipeVersion = "1";

/** A guest kernel, unpacked and never installed on the host. */
export interface Kernel {
  hash: string;
  /** Kernel release, as `uname -r` will say in the guest. */
  release: string;
  /** The uncompressed ELF kernel, entered through its PVH note. */
  vmlinux: string;
  /** Folder with the release's modules, as under /lib/modules/RELEASE. */
  modules: string;
}

/**
 * Debian's cloud kernel for the guest's release: drivers for virtual machines only,
 * patched by Debian. The image inside the compressed bzImage is taken out here,
 * because an emulated CPU takes more than a second to decompress it at each boot.
 * @throws DormouseError `failed_precondition` without a Debian mirror, `internal` with apt's own words.
 */
export async function buildKernel(context: BuildContext = {}): Promise<Kernel> {
  const hash = await contentHash("kernel", recipeVersion);
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    const scratch = join(folder, "scratch");
    await mkdir(scratch);
    const request = {
      metaPackage: "linux-image-cloud-amd64",
      prefix: "linux-image-",
      folder: scratch,
      mirror: await hostMirror(),
    };
    const deb = await downloadDependency(request, context.signal);
    report("Unpacking the guest kernel", 0.7);
    await run("dpkg-deb", ["-x", deb, join(scratch, "tree")], { signal: context.signal });
    const release = await onlyEntry(join(scratch, "tree/usr/lib/modules"));
    // Debian's package has this done when it is installed.
    await run("depmod", ["-b", join(scratch, "tree/usr"), release], { signal: context.signal });
    const image = await readFile(join(scratch, "tree/boot", `vmlinuz-${release}`));
    await writeFile(join(folder, "vmlinux"), await extractKernel(image));
    await rename(join(scratch, "tree/usr/lib/modules", release), join(folder, "modules"));
    await writeFile(join(folder, "release"), release);
    await rm(scratch, { recursive: true });
  };
  const folder = await cached({ name: "kernel", hash, title: "Fetching the guest kernel", build }, context);
  return {
    hash,
    release: await readFile(join(folder, "release"), "utf8"),
    vmlinux: join(folder, "vmlinux"),
    modules: join(folder, "modules"),
  };
}

/**
 * The ELF kernel inside a zstd-compressed bzImage, found by the setup header
 * (https://docs.kernel.org/arch/x86/boot.html: setup_sects, payload_offset, payload_length).
 */
export async function extractKernel(bzImage: Buffer): Promise<Buffer> {
  const isBzImage = bzImage.length > 0x250 && bzImage.toString("latin1", 0x202, 0x206) === "HdrS";
  if (!isBzImage) throw new DormouseError("data_loss", "the kernel package holds no bzImage (no HdrS header)");
  const setupSectors = bzImage.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + bzImage.readUInt32LE(0x248);
  // The payload's last four bytes are its uncompressed size, not part of the zstd frame.
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(0x24c) - 4);
  if (payload.readUInt32LE(0) !== 0xfd2fb528) {
    throw new DormouseError("unimplemented", "the kernel is not compressed with zstd, the only form known here");
  }
  const elf = await promisify(zstdDecompress)(payload);
  if (elf.readUInt32BE(0) !== 0x7f454c46) throw new DormouseError("data_loss", "the kernel's payload is no ELF file");
  return elf;
}

async function onlyEntry(folder: string): Promise<string> {
  const [entry, ...others] = await readdir(folder);
  if (entry && others.length === 0) return entry;
  throw new DormouseError("internal", `expected one kernel release in ${folder}, found ${others.length + 1}`);
}

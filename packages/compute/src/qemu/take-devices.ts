import { constants } from "node:fs";
import { open, rm } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";

/** Device state is some 10 to 100 KiB; a file much larger did not come from a VMM in order. */
const maxDeviceBytes = 64 * 1024 * 1024;

/**
 * Takes device state out of the VMM's folder. What lies there is the VMM's word: no links are followed and no more is
 * read than device state can be. The file is removed.
 */
export async function takeDevices(path: string): Promise<Buffer> {
  const source = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const facts = await source.stat();
    if (!facts.isFile() || facts.size === 0 || facts.size > maxDeviceBytes) {
      throw new DormouseError("data_loss", `the VMM left no device state in ${path}, but ${facts.size} bytes`);
    }
    const bytes = Buffer.alloc(facts.size);
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await source.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) throw new DormouseError("data_loss", `the device state in ${path} ends in the middle`);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await source.close();
    await rm(path, { force: true });
  }
}

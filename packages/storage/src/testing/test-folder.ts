import { access, constants, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A folder for a test, in memory where the machine has such a file system: these tests
 * sync thousands of files, which says nothing about a disk that nobody pulls the plug of.
 */
export async function createTestFolder(name: string): Promise<AsyncDisposable & { path: string }> {
  const memory = "/dev/shm";
  const parent = await access(memory, constants.W_OK).then(
    () => memory,
    () => tmpdir(),
  );
  const path = await mkdtemp(join(parent, `dormouse-${name}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

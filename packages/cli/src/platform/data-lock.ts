import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { withFileLock, writeFileAtomic } from "@dormouse/base/node";

/**
 * Runs `work` as the only platform on a data folder.
 * @throws DormouseError `failed_precondition` naming the process that holds it and its address.
 */
export async function withDataLock<T>(dataDir: string, url: string, work: () => Promise<T>): Promise<T> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const owner = join(dataDir, "platform.owner.json");
  const held = withFileLock(
    join(dataDir, "platform.lock"),
    async () => {
      await writeFileAtomic(owner, JSON.stringify({ pid: process.pid, url }));
      return await work();
    },
    { timeoutMs: 1_000 },
  );
  return await held.catch(async (error: unknown) => {
    if (!(error instanceof DormouseError) || error.code !== "deadline_exceeded" || !error.message.includes("lock"))
      throw error;
    const running = await readFile(owner, "utf8").then(JSON.parse, () => undefined);
    throw new DormouseError(
      "failed_precondition",
      `Dormouse runs already on ${dataDir}${running ? `: process ${running.pid}, ${running.url}` : ""}. ` +
        "End it first, or give this one another folder with --data.",
      { cause: error },
    );
  });
}

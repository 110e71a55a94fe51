import { createId, DormouseError, withTimeout } from "@dormouse/base";
import type { Qmp, QmpOptions } from "./qmp.ts";
import type { QmpEvent } from "./qmp-schema.ts";

/** How long a job may take to end once it was told to. */
const cancelTimeoutMs = 30_000;

/**
 * Runs a job of the VMM's block layer to its end. When the time is over or the signal comes, it is cancelled and its
 * end awaited, so that nothing goes on behind the caller's back; one that came to its good end all the same is no failure.
 * @param start gives the command, with the job's id.
 */
export async function runJob(
  qmp: Qmp,
  start: (id: string) => Promise<unknown>,
  options: Required<Pick<QmpOptions, "timeoutMs">> & QmpOptions,
): Promise<void> {
  const id = createId("job").replaceAll("_", "-");
  const watch = watchJob(qmp, id);
  try {
    await withTimeout(
      "merging layers",
      options.timeoutMs,
      async () => {
        await start(id);
        await watch.ended;
      },
      options.signal,
    );
  } catch (error) {
    if (!watch.hasBegun()) throw error;
    await qmp.execute("job-cancel", { id }).catch(() => {
      // It came to its end in this moment.
    });
    const end = () => watch.ended.catch(() => {});
    await withTimeout("ending a job of the VMM", cancelTimeoutMs, end);
    // It may have been faster than the word to end.
    if (!watch.isComplete()) throw error;
  } finally {
    watch.stop();
  }
}

/** Cancels whatever an earlier owner of the machine had begun, and waits for its end. */
export async function cancelJobs(qmp: Qmp, signal?: AbortSignal): Promise<void> {
  for (const { id } of await qmp.execute("query-jobs", undefined, { signal })) {
    const watch = watchJob(qmp, id);
    try {
      const cancel = async () => {
        await qmp.execute("job-cancel", { id });
        await watch.ended.catch(() => {});
      };
      await withTimeout("ending a job of the VMM", cancelTimeoutMs, cancel, signal);
    } catch (error) {
      const jobs = await qmp.execute("query-jobs", undefined, { signal });
      if (jobs.some((job) => job.id === id)) throw error;
    } finally {
      watch.stop();
    }
  }
}

function watchJob(qmp: Qmp, id: string) {
  let error: string | undefined;
  let [hasBegun, isComplete] = [false, false];
  const done = Promise.withResolvers<void>();
  // Who waits hears of it; who has given up does not want to.
  done.promise.catch(() => {});
  const onEvent = (event: QmpEvent) => {
    if (event.event === "BLOCK_JOB_COMPLETED" && event.data.device === id) {
      error = event.data.error;
      isComplete = !error;
    }
    if (event.event !== "JOB_STATUS_CHANGE" || event.data.id !== id) return;
    hasBegun = true;
    if (event.data.status !== "null") return;
    if (error) done.reject(new DormouseError("internal", `a job of the VMM failed: ${error}`));
    else done.resolve();
  };
  const onClose = () => done.reject(new DormouseError("unavailable", "the VMM went away during a job"));
  qmp.on("event", onEvent);
  qmp.once("close", onClose);
  return {
    ended: done.promise,
    hasBegun: () => hasBegun,
    isComplete: () => isComplete,
    stop() {
      qmp.off("event", onEvent);
      qmp.off("close", onClose);
    },
  };
}

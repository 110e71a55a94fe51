import { type Logger, sleep } from "@dormouse/base";
import { type HostConnection, remote } from "../host/client.ts";
import type { Changes } from "../workspaces/changes.ts";
import type { EgressService } from "./service.ts";

const retryMs = 1_000;

/**
 * Passes on to who follows a workspace what its machine was refused. Whenever the host is found again, it is told the
 * policies first: they may have changed while it was away.
 * @returns ends the loop and waits for it.
 */
export function watchEgress(options: {
  host: HostConnection;
  egress: Pick<EgressService, "applyAll">;
  changes: Changes;
  log: Logger;
}): () => Promise<void> {
  const { host, egress, changes, log } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const loop = async () => {
    while (!signal.aborted) {
      try {
        const refusals = await remote(host.calls.egress.watch({}, { signal }));
        await egress.applyAll();
        for await (const { workspaceId, refusal } of refusals)
          changes.publish(workspaceId, { type: "egress", refusal });
      } catch (error) {
        if (!signal.aborted) log.debug("the host's refusals are away", { error });
      }
      await sleep(retryMs, signal).catch(() => {
        // Aborted: the loop's condition sees it.
      });
    }
  };
  const running = loop();
  return async () => {
    stopping.abort();
    await running;
  };
}

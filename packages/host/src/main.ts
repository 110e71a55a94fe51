// The host daemon's process. Configuration: DORMOUSE_HOST (see HostConfig). It says `ready` to its parent, ends machines or
// puts them to sleep when asked to stop, and lets them run on when it or its parent dies.
import { createLogger, DormouseError } from "@dormouse/base";
import { readServiceConfig } from "@dormouse/base/node";
import { hostConfig } from "./config.ts";
import { startHost } from "./start-host.ts";

const log = createLogger({ write: (line) => process.stderr.write(`${line}\n`), fields: { service: "host" } });

try {
  const config = await readServiceConfig("DORMOUSE_HOST", hostConfig);
  const starting = startHost(config, log);
  let stopping = false;
  const stop = async (hibernate: boolean) => {
    if (stopping) return;
    stopping = true;
    try {
      // One that is still starting is waited for: what it has begun has to be ended too.
      await (await starting).stop({ hibernate });
    } catch (error) {
      log.error("host did not stop cleanly", { error });
      process.exitCode = 1;
    }
    process.exit();
  };
  process.on("SIGTERM", () => void stop(true));
  process.on("SIGINT", () => void stop(true));
  // Without a supervisor nobody asked for the machines to end: they run on for the next daemon.
  process.on("disconnect", () => void stop(false));
  const host = await starting;
  process.send?.({ type: "ready", url: host.url });
} catch (error) {
  log.error("host could not start", { error: DormouseError.from(error) });
  process.exit(1);
}

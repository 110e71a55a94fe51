import { createLogger, DormouseError } from "@dormouse/base";
import { readServiceConfig } from "@dormouse/base/node";
import { controlConfig } from "./config.ts";
import { startControl } from "./control.ts";

/**
 * Control as a process of its own. Configuration: `DORMOUSE_CONTROL` (see ControlConfig).
 * Says `{ type: "ready", url, internalUrl }` to the process that started it, logs JSON
 * lines on standard error, and stops on SIGTERM, SIGINT or when its parent is gone.
 */
async function main(): Promise<void> {
  const config = await readServiceConfig("DORMOUSE_CONTROL", controlConfig);
  const log = createLogger({
    level: config.logLevel,
    write: (line) => process.stderr.write(`${line}\n`),
    fields: { part: "control" },
  });
  const control = await startControl(config, log);
  const stop = (why: string) => {
    log.info("stopping", { why });
    // What hangs must not keep the platform from stopping; the database is consistent at any point.
    setTimeout(() => process.exit(1), 10_000).unref();
    Promise.resolve(control[Symbol.asyncDispose]()).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error("stopping failed", { error });
        process.exit(1);
      },
    );
  };
  process.once("SIGTERM", () => stop("SIGTERM"));
  process.once("SIGINT", () => stop("SIGINT"));
  process.once("disconnect", () => stop("the parent is gone"));
  const { url, internalUrl } = control;
  log.info("control is ready", { url });
  process.send?.({ type: "ready", url, internalUrl });
}

main().catch((caught: unknown) => {
  const error = DormouseError.from(caught);
  process.stderr.write(`${JSON.stringify({ level: "error", part: "control", message: error.message })}\n`);
  process.exit(1);
});

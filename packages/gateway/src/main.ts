import { createLogger, DormouseError } from "@dormouse/base";
import { readServiceConfig } from "@dormouse/base/node";
import { gatewayConfig } from "./config.ts";
import { startGateway } from "./gateway.ts";

/**
 * The gateway as a process of its own. Configuration: `DORMOUSE_GATEWAY` (see
 * GatewayConfig). Says `{ type: "ready", url }` to the process that started it, logs
 * JSON lines on standard error, and stops on SIGTERM, SIGINT or when its parent is gone.
 */
async function main(): Promise<void> {
  const config = await readServiceConfig("DORMOUSE_GATEWAY", gatewayConfig);
  const log = createLogger({
    level: config.logLevel,
    write: (line) => process.stderr.write(`${line}\n`),
    fields: { part: "gateway" },
  });
  const gateway = await startGateway(config, log);
  const stop = (why: string) => {
    log.info("stopping", { why });
    Promise.resolve(gateway[Symbol.asyncDispose]()).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.once("SIGTERM", () => stop("SIGTERM"));
  process.once("SIGINT", () => stop("SIGINT"));
  process.once("disconnect", () => stop("the parent is gone"));
  log.info("the gateway is ready", { url: gateway.url });
  process.send?.({ type: "ready", url: gateway.url });
}

main().catch((caught: unknown) => {
  const error = DormouseError.from(caught);
  process.stderr.write(`${JSON.stringify({ level: "error", part: "gateway", message: error.message })}\n`);
  process.exit(1);
});

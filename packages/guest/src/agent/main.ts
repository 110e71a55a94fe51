import { createLogger } from "@dormouse/base";
import { createAgent } from "./agent.ts";

// The agent of a machine. dormouse-init starts it with nothing but this file; elsewhere the
// environment names what differs.
const { env } = process;
const logger = createLogger({ write: (line) => process.stderr.write(`${line}\n`) });
const agent = createAgent({
  root: env.DORMOUSE_ROOT ?? "/user",
  user: env.DORMOUSE_USER ?? "dev",
  spawnSocket: env.DORMOUSE_SPAWN_SOCKET ?? "/run/dormouse/spawn.sock",
  identityFile: env.DORMOUSE_IDENTITY_FILE ?? "/run/dormouse/identity",
  debugTools: {
    folder: env.DORMOUSE_DEBUG_TOOLS ?? "/run/dormouse/tools/debug",
    node: env.DORMOUSE_DEBUG_NODE,
  },
  languageTools: {
    folder: env.DORMOUSE_LANGUAGE_TOOLS ?? "/run/dormouse/tools/languages",
    node: env.DORMOUSE_LANGUAGE_NODE ?? "/run/dormouse/tools/languages/node",
    shell: env.DORMOUSE_LANGUAGE_NODE ? ["sh"] : ["/run/dormouse/tools/bin/busybox", "sh"],
  },
  logger,
});

// A fault that nobody handled leaves a state that nobody knows: end, and be started anew.
process.on("uncaughtException", (error) => {
  logger.error("the agent ends", { error });
  process.exit(1);
});

const host = env.DORMOUSE_LISTEN_HOST ?? "172.31.0.2";
const port = Number(env.DORMOUSE_LISTEN_PORT ?? 7000);
agent.server.listen(port, host, () => logger.info("the agent listens", { host, port }));

import { connect } from "node:net";
import type { Logger } from "@dormouse/base";
import { createSpawner } from "../process/spawner.ts";
import { spawnerPort } from "../process/spawner-protocol.ts";
import type { DebugTools } from "./debug/adapters.ts";
import { createDebugService } from "./debug/service.ts";
import { createExecService } from "./exec.ts";
import { createFileService } from "./files.ts";
import { createGitService } from "./git/service.ts";
import { accountLookup } from "./guest-files.ts";
import type { LanguageTools } from "./languages/servers.ts";
import { createLanguageService } from "./languages/service.ts";
import { createMachineService } from "./machine.ts";
import { createPortService } from "./ports.ts";
import { createPtyService } from "./pty.ts";
import { createSearchService } from "./search.ts";
import { createAgentServer } from "./server.ts";
import { type Machine, openSession } from "./session.ts";
import { createWatchService } from "./watch.ts";

/** Where an agent finds its machine. */
export interface AgentOptions {
  /** The user's root; `/user` in a machine. */
  root: string;
  /** Where `dormouse-init` listens. */
  spawnSocket: string;
  /** Name of the user whom new files belong to unless the identity names one, as given to `dormouse-init`. */
  user: string;
  /** Where `dormouse-init` writes whose machine this is, see {@link openSession}. */
  identityFile: string;
  debugTools: DebugTools;
  languageTools: LanguageTools;
  /** How long language servers wait for a page that is gone; see {@link createLanguageService}. */
  languageGraceMs?: number | undefined;
  logger: Logger;
}

/** Puts the agent together. Call `listen` on its server, and `close` at the end. */
export function createAgent(options: AgentOptions) {
  const root = options.root.replace(/\/+$/, "");
  const { identityFile, logger, spawnSocket } = options;
  const machine: Machine = { root, session: openSession(identityFile) };
  const spawner = createSpawner(() => connect(spawnSocket));
  const exec = createExecService(machine, spawner);
  const pty = createPtyService(machine, spawner);
  const isOwnPort = (port: number, address: string) => {
    const own = server.address();
    return typeof own === "object" && own?.address === address && (port === own.port || port === spawnerPort);
  };
  const files = createFileService(
    root,
    accountLookup(root, () => machine.session.user ?? options.user),
  );
  const ports = createPortService(root, isOwnPort);
  const services = {
    exec,
    pty,
    files,
    watch: createWatchService(root),
    git: createGitService(machine, spawner),
    search: createSearchService(machine, spawner),
    debug: createDebugService({ machine, spawner, pty, ports, tools: options.debugTools }),
    languages: createLanguageService({
      machine,
      spawner,
      files,
      tools: options.languageTools,
      graceMs: options.languageGraceMs,
    }),
    ports,
    machine: createMachineService({ machine, exec, pty }),
  };
  const server = createAgentServer({ session: machine.session, services, logger });
  return {
    server,
    close() {
      server.closeAll();
      services.debug.close();
      services.languages.close();
      spawner.close();
    },
  };
}

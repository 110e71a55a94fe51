import { z } from "zod";
import { limits } from "./limits.ts";

/**
 * A message of the Debug Adapter Protocol (https://microsoft.github.io/debug-adapter-protocol). Only what every message has
 * is looked at here; the rest is between editor and adapter.
 */
export const debugMessage = z.looseObject({
  seq: z.number().int(),
  type: z.enum(["request", "response", "event"]),
});
export type DebugMessage = z.infer<typeof debugMessage>;

/** Chosen by whoever starts or attaches, so that it knows its own before anybody tells it. */
export const debugId = z.string().regex(/^[A-Za-z0-9-]{8,64}$/, "an id has 8 to 64 letters, digits and -");

/** What a launch.json holds as one configuration, its variables replaced. */
export const debugConfiguration = z
  .looseObject({
    type: z.string().min(1).max(64),
    request: z.enum(["launch", "attach"]),
    name: z.string().max(200),
  })
  .refine(
    (configuration) => JSON.stringify(configuration).length <= limits.debugConfigurationBytes,
    `a configuration has at most ${limits.debugConfigurationBytes} bytes`,
  );
export type DebugConfiguration = z.infer<typeof debugConfiguration>;

export const debugSession = z.object({
  sessionId: debugId,
  /** The session that started it, as js-debug does for each process. */
  parentId: debugId.nullable(),
  configuration: debugConfiguration,
  startedMs: z.number(),
  /** starting: not all of it is set up yet. stopped: at least one thread stands. */
  state: z.enum(["starting", "running", "stopped", "ended"]),
  /** Terminals that the debugger asked for, by the names that `pty` has for them. */
  terminals: z.array(z.string()),
});
export type DebugSession = z.infer<typeof debugSession>;

/** The arguments of the last request of each kind that set breakpoints, as the protocol has them. */
export const debugBreakpoints = z.object({
  sources: z.array(z.record(z.string(), z.unknown())),
  functions: z.record(z.string(), z.unknown()).nullable(),
  exceptions: z.record(z.string(), z.unknown()).nullable(),
});
export type DebugBreakpoints = z.infer<typeof debugBreakpoints>;

export const debugEvent = z.object({
  /** Counts a client's messages from 1: attach again with the last one to go on. The first event has none. */
  index: z.number().int(),
  message: debugMessage.optional(),
});
export type DebugEvent = z.infer<typeof debugEvent>;

export const debuggableProcess = z.object({
  pid: z.number().int(),
  user: z.string(),
  /** Program and arguments. */
  command: z.array(z.string()),
  startedMs: z.number(),
});
export type DebuggableProcess = z.infer<typeof debuggableProcess>;

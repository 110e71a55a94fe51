import type { DebugBreakpoints } from "@dormouse/contract/debug-schemas";
import { limits } from "@dormouse/contract/limits";
import type { DapEvent, DapRequest, DapResponse } from "./protocol.ts";

type Body = Readonly<Record<string, unknown>>;

/** Requests after whose answer threads run again. */
const resuming = new Set([
  "continue",
  "next",
  "stepIn",
  "stepOut",
  "stepBack",
  "reverseContinue",
  "goto",
  "restartFrame",
]);

/** What an editor that comes later needs to know of a session. */
export interface SessionState {
  readonly isConfigured: boolean;
  readonly isStopped: boolean;
  readonly hasTerminated: boolean;
  /** How often the adapter has told that threads stopped or went on. */
  readonly moves: number;
  readonly breakpoints: DebugBreakpoints;
  /** The answer to the last `setExceptionBreakpoints`. */
  readonly exceptionAnswer: DapResponse | undefined;
  heard(event: DapEvent): void;
  answered(request: DapRequest, response: DapResponse): void;
  /** What a `continued` event would say after this request. */
  resumedBy(request: DapRequest, response: DapResponse): Body | undefined;
  /** Events that bring an editor to where the session is. */
  replay(): DapEvent[];
}

/** Follows a session through its messages. */
export function createSessionState(): SessionState {
  const sources = new Map<string, Body>();
  const threads = new Map<unknown, DapEvent>();
  const progress = new Map<unknown, DapEvent>();
  let functions: Body | null = null;
  let exceptions: Body | null = null;
  let exceptionAnswer: DapResponse | undefined;
  let process: DapEvent | undefined;
  let capabilities: DapEvent | undefined;
  const output: { event: DapEvent; characters: number }[] = [];
  let outputCharacters = 0;
  let stopped: DapEvent[] = [];
  let isConfigured = false;
  let hasTerminated = false;
  let moves = 0;

  const keepOutput = (event: DapEvent) => {
    if (event.body?.category === "telemetry") return;
    const characters = JSON.stringify(event).length;
    output.push({ event, characters });
    outputCharacters += characters;
    while (outputCharacters > limits.debugOutputBytes && output.length > 1) {
      outputCharacters -= output.shift()?.characters ?? 0;
    }
  };

  const run = ({ threadId, allThreadsContinued }: Body) => {
    const isAll = threadId === undefined || allThreadsContinued !== false;
    stopped = isAll ? [] : stopped.filter((event) => event.body?.threadId !== threadId);
  };

  const onEvent: Readonly<Record<string, (event: DapEvent) => void>> = {
    output: keepOutput,
    stopped: (event) => {
      moves++;
      stopped = stopped.filter(({ body }) => body?.threadId !== event.body?.threadId);
      stopped.push(event);
    },
    continued: ({ body = {} }) => {
      moves++;
      run(body);
    },
    process: (event) => {
      process = event;
    },
    capabilities: (event) => {
      const before = capabilities?.body?.capabilities as Body | undefined;
      const now = event.body?.capabilities as Body | undefined;
      capabilities = { ...event, body: { capabilities: { ...before, ...now } } };
    },
    thread: (event) => {
      if (event.body?.reason === "exited") {
        threads.delete(event.body.threadId);
        stopped = stopped.filter(({ body }) => body?.threadId !== event.body?.threadId);
      } else threads.set(event.body?.threadId, event);
    },
    progressStart: (event) => progress.set(event.body?.progressId, event),
    progressEnd: ({ body }) => progress.delete(body?.progressId),
    terminated: () => {
      hasTerminated = true;
      stopped = [];
    },
  };

  return {
    get isConfigured() {
      return isConfigured;
    },
    get isStopped() {
      return stopped.length > 0;
    },
    get hasTerminated() {
      return hasTerminated;
    },
    get moves() {
      return moves;
    },
    get exceptionAnswer() {
      return exceptionAnswer;
    },
    get breakpoints() {
      return { sources: [...sources.values()], functions, exceptions };
    },

    heard: (event) => onEvent[event.event]?.(event),

    answered({ command, arguments: given = {} }, response) {
      if (command === "configurationDone") isConfigured = true;
      if (command === "setFunctionBreakpoints") functions = given;
      if (command === "setExceptionBreakpoints") {
        exceptions = given;
        exceptionAnswer = response;
      }
      if (command === "setBreakpoints") {
        const { path, name, sourceReference } = (given.source ?? {}) as Body;
        const key = String(path ?? `${name} ${sourceReference}`);
        if ((given.breakpoints as unknown[] | undefined)?.length) sources.set(key, given);
        else sources.delete(key);
      }
    },

    resumedBy({ command, arguments: given = {} }, { body }) {
      if (!resuming.has(command)) return undefined;
      const allThreadsContinued = body?.allThreadsContinued ?? given.singleThread !== true;
      // Frames and targets carry no thread; what stands then is all that can be meant.
      const threadId = given.threadId ?? stopped.at(-1)?.body?.threadId ?? 0;
      const continued = { threadId, allThreadsContinued };
      run(continued);
      return continued;
    },

    replay: () =>
      [
        capabilities,
        process,
        ...threads.values(),
        ...output.map(({ event }) => event),
        ...progress.values(),
        ...stopped,
      ].filter((event) => event !== undefined),
  };
}

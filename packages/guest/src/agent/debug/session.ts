import { DormouseError } from "@dormouse/base";
import type {
  DebugBreakpoints,
  DebugConfiguration,
  DebugEvent,
  DebugMessage,
  DebugSession as DebugSessionInfo,
} from "@dormouse/contract/debug-schemas";
import { limits } from "@dormouse/contract/limits";
import { createClient, type DebugClient } from "./client.ts";
import type { AdapterConnection, ConnectionHandlers } from "./connection.ts";
import type { DapEvent, DapMessage, DapRequest, DapResponse } from "./protocol.ts";
import { createSessionState } from "./state.ts";

/** What sets a session up: each is asked of the adapter once, and every editor gets the same answer. */
const setUpSteps: Readonly<Record<string, string>> = {
  initialize: "initialize",
  launch: "launch",
  attach: "launch",
  configurationDone: "configurationDone",
};

/** An adapter is given this long for goodbye. */
const goodbyeMs = 3000;

/** What {@link createDebugSession} works with. */
export interface DebugSessionOptions {
  sessionId: string;
  parentId: string | null;
  configuration: DebugConfiguration;
  /** What the adapter calls the type. */
  adapterType: string;
  connect: (handlers: ConnectionHandlers) => Promise<AdapterConnection>;
  /** Answers what the adapter asks for, other than editors: terminals and further sessions. */
  onRequest: (request: DapRequest) => Promise<Record<string, unknown> | undefined>;
  /** Something in {@link DebugSession.info} has changed. */
  onChange: () => void;
  onEnd: (reason: string) => void;
}

/** A debug session that lives on its own, and the editors that follow it. */
export interface DebugSession {
  readonly info: DebugSessionInfo;
  readonly breakpoints: DebugBreakpoints;
  attach(clientId: string, after: number, signal?: AbortSignal): AsyncGenerator<DebugEvent>;
  send(clientId: string, messages: readonly DebugMessage[]): void;
  /** Sets itself up without an editor: with these answers to what an editor would say, and these breakpoints. */
  begin(initializeArguments: Readonly<Record<string, unknown>>, breakpoints: DebugBreakpoints): Promise<void>;
  /** What the first editor said of itself. */
  readonly initializeArguments: Readonly<Record<string, unknown>>;
  /** Says goodbye to the adapter and ends; resolves when it is over. */
  end(): Promise<void>;
}

interface Pending {
  request: DapRequest;
  client: DebugClient | undefined;
  /** {@link SessionState.moves} when it was asked. */
  moves: number;
  answered: (response: DapResponse) => void;
}

/**
 * One adapter, any number of editors. Requests are renumbered on their way to the adapter and answers on their way back;
 * events go to all. An editor that comes later goes through the same opening as the first one, answered from memory, and is
 * then told what the others have seen: output, threads, and where they stand.
 * @throws DormouseError when the adapter cannot be reached; nothing is left then.
 */
export async function createDebugSession(options: DebugSessionOptions): Promise<DebugSession> {
  const { sessionId, parentId, configuration } = options;
  const clients = new Map<string, DebugClient>();
  const pending = new Map<number, Pending>();
  const steps = new Map<string, Promise<DapResponse>>();
  const state = createSessionState();
  const initialized = Promise.withResolvers<void>();
  const info: DebugSessionInfo = {
    sessionId,
    parentId,
    configuration,
    startedMs: Date.now(),
    state: "starting",
    terminals: [],
  };
  let initializeArguments: Readonly<Record<string, unknown>> = {};
  let lastSeq = 0;
  let isOver = false;
  let goodbye: Promise<DapResponse> | undefined;
  let ending = "";
  let over: Promise<void> | undefined;

  const change = () => {
    const now = isOver ? "ended" : !state.isConfigured ? "starting" : state.isStopped ? "stopped" : "running";
    if (now === info.state) return;
    info.state = now;
    options.onChange();
  };

  const broadcast = (event: DapEvent, except?: DebugClient) => {
    // A breakpoint that proves itself after it was set is told to one that is only setting its own, too.
    const isForAll = event.event === "breakpoint";
    for (const client of clients.values()) if (client !== except && (isForAll || !client.isJoining)) client.push(event);
  };

  const close = (reason: string) => {
    if (isOver) return;
    isOver = true;
    for (const { request, answered } of pending.values()) answered(failure(request, reason));
    pending.clear();
    initialized.resolve();
    if (!state.hasTerminated) {
      if (!goodbye) broadcast(event("output", { category: "important", output: `${reason}\n` }));
      broadcast(event("terminated"));
    }
    // Answers that were given above are on their way to their editors.
    setImmediate(() => {
      for (const client of clients.values()) client.end();
    });
    change();
    options.onEnd(reason);
  };

  const onMessage = (message: DapMessage) => {
    if (isOver) return;
    if (message.type === "response") answer(message);
    else if (message.type === "event") hear(message);
    else void serve(message);
  };
  const connection = await options.connect({
    onMessage,
    onClose: (reason) => {
      ending = reason;
      close(reason);
    },
  });
  if (isOver) throw new DormouseError("failed_precondition", ending);

  const ask = (request: DapRequest, client?: DebugClient): Promise<DapResponse> => {
    if (isOver) return Promise.resolve(failure(request, "the debug session is over"));
    const seq = ++lastSeq;
    return new Promise((answered) => {
      pending.set(seq, { request, client, moves: state.moves, answered });
      connection.send({ ...request, seq, arguments: argumentsFor(request, client) });
    });
  };

  /** What the protocol has editors say of numbers and of themselves is said in the session's own name. */
  const argumentsFor = ({ command, arguments: given }: DapRequest, client: DebugClient | undefined) => {
    if (command === "initialize") {
      return {
        ...given,
        adapterID: options.adapterType,
        supportsRunInTerminalRequest: true,
        supportsStartDebuggingRequest: true,
      };
    }
    if (setUpSteps[command] === "launch") return { ...given, type: options.adapterType };
    if (command === "restart" && given?.arguments) {
      return { ...given, arguments: { ...(given.arguments as object), type: options.adapterType } };
    }
    if (command === "cancel" && typeof given?.requestId === "number") {
      const meant = [...pending].find(([, entry]) => entry.client === client && entry.request.seq === given.requestId);
      return { ...given, requestId: meant?.[0] ?? 0 };
    }
    return given;
  };

  const answer = (response: DapResponse) => {
    const entry = pending.get(response.request_seq);
    if (!entry) return;
    pending.delete(response.request_seq);
    const { request, client, moves } = entry;
    if (response.success) {
      state.answered(request, response);
      // Whoever goes on knows it, the others are told; unless the adapter has said so itself, or that it stands again.
      const continued = moves === state.moves ? state.resumedBy(request, response) : undefined;
      if (continued) broadcast(event("continued", continued), client);
    }
    entry.answered(response);
    change();
  };

  const hear = (heard: DapEvent) => {
    state.heard(heard);
    broadcast(heard);
    if (heard.event === "initialized") initialized.resolve();
    if (heard.event === "terminated") void end();
    change();
  };

  const serve = async (request: DapRequest) => {
    const reply = (rest: Pick<DapResponse, "success"> & Partial<DapResponse>) =>
      connection.send({
        seq: ++lastSeq,
        type: "response",
        request_seq: request.seq,
        command: request.command,
        ...rest,
      });
    try {
      const body = await options.onRequest(request);
      if (!isOver) reply({ success: true, ...(body ? { body } : {}) });
    } catch (error) {
      if (!isOver) reply({ success: false, message: DormouseError.from(error).message });
    }
  };

  /** Asks once; later ones get the answer to the first. */
  const step = (request: DapRequest, client?: DebugClient): Promise<DapResponse> => {
    const name = setUpSteps[request.command] ?? request.command;
    const known = steps.get(name);
    if (known) return known;
    if (name === "initialize") initializeArguments = request.arguments ?? {};
    const asked = ask(request, client);
    steps.set(name, asked);
    return asked;
  };

  const join = (client: DebugClient) => {
    if (!client.isJoining) return;
    client.isJoining = false;
    for (const missed of state.replay()) client.push(missed);
  };

  const handle = async (client: DebugClient, request: DapRequest): Promise<DapResponse> => {
    const { command } = request;
    if (command === "disconnect") {
      if (goodbye || isOver) return success(request);
      goodbye = within(ask(request, client), goodbyeMs, request);
      return goodbye;
    }
    if (client.isJoining && command === "setExceptionBreakpoints" && state.exceptionAnswer)
      return state.exceptionAnswer;
    return setUpSteps[command] ? step(request, client) : ask(request, client);
  };

  const take = async (client: DebugClient, request: DapRequest) => {
    if (request.command === "launch" || request.command === "attach") {
      void initialized.promise.then(() => {
        // Those that were here heard it themselves.
        if (client.isJoining && !isOver) client.push(event("initialized"));
      });
    }
    const response = await handle(client, request);
    client.push({ ...response, command: request.command, request_seq: request.seq });
    if (request.command === "disconnect") void end();
    if (request.command === "configurationDone" || request.command === "threads") join(client);
  };

  const end = (): Promise<void> => {
    over ??= (async () => {
      const request: DapRequest = { seq: 0, type: "request", command: "disconnect", arguments: {} };
      goodbye ??= within(ask(request), goodbyeMs, request);
      await goodbye;
      connection.close();
      close("the session has ended");
    })();
    return over;
  };

  return {
    info,
    get initializeArguments() {
      return initializeArguments;
    },
    get breakpoints() {
      return state.breakpoints;
    },

    async *attach(clientId, after, signal) {
      let client = clients.get(clientId);
      if (!client) {
        if (after > 0) throw new DormouseError("not_found", `clientId: this session knows no ${clientId} any more`);
        // One that is set up already has been watched by others.
        client = createClient(steps.has("launch"));
        clients.set(clientId, client);
        makeRoom(clients);
      }
      yield* client.follow(after, signal);
    },

    send(clientId, messages) {
      const client = clients.get(clientId);
      if (!client) throw new DormouseError("not_found", `clientId: this session knows no ${clientId} any more`);
      for (const message of messages) {
        const request = message as unknown as DapRequest;
        // Answers to the adapter's own requests were given here; a number that was here already comes a second time.
        if (message.type !== "request" || message.seq <= client.lastSeq) continue;
        client.lastSeq = message.seq;
        void take(client, request);
      }
    },

    async begin(given, breakpoints) {
      const say = async (command: string, given: Readonly<Record<string, unknown>> = {}) => {
        const request: DapRequest = { seq: 0, type: "request", command, arguments: given };
        const response = await (setUpSteps[command] ? step(request) : ask(request));
        if (!response.success) throw new DormouseError("failed_precondition", response.message ?? `${command} failed`);
      };
      await say("initialize", given);
      // Answered only after all else with some adapters.
      const launched = say(configuration.request, configuration);
      await Promise.race([initialized.promise, launched.then(() => initialized.promise)]);
      for (const source of breakpoints.sources) await say("setBreakpoints", source);
      if (breakpoints.functions) await say("setFunctionBreakpoints", breakpoints.functions);
      if (breakpoints.exceptions) await say("setExceptionBreakpoints", breakpoints.exceptions);
      await say("configurationDone");
      await launched;
    },
    end,
  };
}

function makeRoom(clients: Map<string, DebugClient>): void {
  // Editors that are gone leave no word: the ones that nobody reads for give way, the oldest first.
  for (const [id, client] of clients) {
    if (clients.size <= limits.debugClients) return;
    if (client.isFollowed) continue;
    client.end();
    clients.delete(id);
  }
  if (clients.size > limits.debugClients) {
    clients.delete([...clients.keys()].at(-1) ?? "");
    throw new DormouseError("resource_exhausted", `${limits.debugClients} editors follow this debug session already`);
  }
}

function event(name: string, body?: Readonly<Record<string, unknown>>): DapEvent {
  return { seq: 0, type: "event", event: name, ...(body ? { body } : {}) };
}

function success({ seq, command }: DapRequest): DapResponse {
  return { seq: 0, type: "response", request_seq: seq, success: true, command };
}

function failure({ seq, command }: DapRequest, message: string): DapResponse {
  return { seq: 0, type: "response", request_seq: seq, success: false, command, message };
}

async function within(answered: Promise<DapResponse>, limitMs: number, request: DapRequest): Promise<DapResponse> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<DapResponse>((resolve) => {
    timer = setTimeout(() => resolve(success(request)), limitMs);
  });
  try {
    return await Promise.race([answered, late]);
  } finally {
    clearTimeout(timer);
  }
}

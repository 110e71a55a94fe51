import type { DebugConfiguration, DebugMessage } from "@dormouse/contract";
import type { GuestClient } from "../client.ts";
import { dapProblems } from "./dap-schema.ts";

/** A message as a test looks at it. */
export interface Message {
  type: string;
  event?: string;
  command?: string;
  request_seq?: number;
  success?: boolean;
  message?: string;
  // biome-ignore lint/suspicious/noExplicitAny: bodies are the protocol's, and checked against its schema.
  body?: any;
}

/** An editor of a debug session, without an editor around it. */
export interface DapClient extends AsyncDisposable {
  /** Asks; throws with the adapter's words when it refuses. Answers with the body. */
  // biome-ignore lint/suspicious/noExplicitAny: see above.
  ask(command: string, given?: Record<string, unknown>): Promise<any>;
  /** The next event of this name that was not waited for yet, and that `accepts` takes. */
  event(name: string, accepts?: (message: Message) => boolean): Promise<Message>;
  /** All that came, in order. */
  readonly received: readonly Message[];
  /** All that was sent and came, as it went over the wire. */
  readonly log: readonly { direction: "sent" | "received"; message: unknown }[];
  /** What of it was not as the published schema has it. */
  readonly problems: readonly string[];
  /** Resolves when the session is over for this editor. */
  readonly ended: Promise<void>;
  /** Reads no longer, as a page whose connection is lost; `resume` goes on behind the last message. */
  lose(): void;
  resume(): Promise<void>;
}

const initializeArguments = {
  clientID: "test",
  adapterID: "test",
  pathFormat: "path",
  linesStartAt1: true,
  columnsStartAt1: true,
  supportsVariableType: true,
  supportsRunInTerminalRequest: true,
  supportsStartDebuggingRequest: true,
};

/** Attaches to a session that is there. */
export async function attachDap(guest: GuestClient, sessionId: string): Promise<DapClient> {
  const clientId = `client-${Math.random().toString(36).slice(2, 12)}`;
  const received: Message[] = [];
  const log: { direction: "sent" | "received"; message: unknown }[] = [];
  const problems: string[] = [];
  const waiting = new Set<() => void>();
  const used = new Set<Message>();
  const ended = Promise.withResolvers<void>();
  // Who does not wait for the end does not ask how it came.
  ended.promise.catch(() => {});
  let seq = 0;
  let last = 0;
  let leave = new AbortController();
  /** One after the other: two calls at once may overtake each other, and what comes late is taken for a repetition. */
  let sending: Promise<unknown> = Promise.resolve();

  const find = async (accepts: (message: Message) => boolean): Promise<Message> => {
    for (;;) {
      const found = received.find((message) => !used.has(message) && accepts(message));
      if (found) {
        used.add(found);
        return found;
      }
      await new Promise<void>((resolve) => waiting.add(resolve));
    }
  };
  const follow = async () => {
    const { signal } = leave;
    const events = await guest.debug.attach({ sessionId, clientId, after: last }, { signal });
    await events.next();
    void (async () => {
      for await (const { index, message } of events) {
        last = index;
        if (!message) continue;
        problems.push(...dapProblems(message));
        log.push({ direction: "received", message });
        received.push(message as unknown as Message);
        for (const wake of [...waiting]) wake();
        waiting.clear();
      }
      ended.resolve();
    })().catch((error: unknown) => {
      if (!signal.aborted) ended.reject(error);
    });
  };
  await follow();

  return {
    received,
    log,
    problems,
    ended: ended.promise,
    async ask(command, given = {}) {
      const request = { seq: ++seq, type: "request" as const, command, arguments: given };
      problems.push(...dapProblems(request));
      log.push({ direction: "sent", message: request });
      const sent = sending.then(() => guest.debug.send({ sessionId, clientId, messages: [request as DebugMessage] }));
      sending = sent.catch(() => {});
      await sent;
      const answer = await find((message) => message.type === "response" && message.request_seq === request.seq);
      if (!answer.success) throw new Error(`${command}: ${answer.message} ${JSON.stringify(answer.body ?? {})}`);
      return answer.body;
    },
    event: (name, accepts = () => true) => find((message) => message.event === name && accepts(message)),
    lose: () => leave.abort(),
    resume: () => {
      leave = new AbortController();
      return follow();
    },
    async [Symbol.asyncDispose]() {
      leave.abort();
    },
  };
}

/** How {@link launchDap} launches. */
export interface LaunchOptions {
  configuration: DebugConfiguration;
  /** Lines by file. */
  breakpoints?: Readonly<Record<string, readonly (number | Record<string, unknown>)[]>>;
  /** Further requests before it runs. */
  prepare?: (client: DapClient) => Promise<void>;
}

let lastSession = 0;

/** Starts a session as an editor does, and goes through the opening. */
export async function launchDap(
  guest: GuestClient,
  options: LaunchOptions,
): Promise<DapClient & { sessionId: string }> {
  const sessionId = `session-${process.pid}-${++lastSession}`;
  await guest.debug.start({ sessionId, configuration: options.configuration });
  const client = await attachDap(guest, sessionId);
  await openDap(client, options);
  return Object.assign(client, { sessionId });
}

/** The opening, the same for the first editor and for any later one. */
export async function openDap(
  client: DapClient,
  { configuration, breakpoints = {}, prepare }: LaunchOptions,
): Promise<void> {
  await client.ask("initialize", initializeArguments);
  const launched = client.ask(configuration.request, configuration);
  // A refusal is told below; until then nobody listens.
  launched.catch(() => {});
  await Promise.race([client.event("initialized"), launched.then(() => client.event("initialized"))]);
  for (const [path, lines] of Object.entries(breakpoints)) {
    const wanted = lines.map((line) => (typeof line === "number" ? { line } : line));
    await client.ask("setBreakpoints", { source: { path }, breakpoints: wanted });
  }
  await prepare?.(client);
  await client.ask("configurationDone");
  await launched;
}

import { DormouseError } from "@dormouse/base";
import type { LanguageEvent, LanguageSession } from "@dormouse/contract/language-schemas";
import { limits } from "@dormouse/contract/limits";
import type { Spawner, SpawnRequest } from "../../process/spawner.ts";
import { encodeMessage, messageReader } from "../framing.ts";
import { createOutbox, type Numbered } from "../outbox.ts";

/** What a server complained of last is all that explains its end. */
const keptComplaintCharacters = 2000;

/** One server and the page that it is for. */
export interface LanguageServerSession {
  readonly info: LanguageSession;
  readonly isFollowed: boolean;
  /** It has ended; what it said last can still be read. */
  readonly isOver: boolean;
  attach(after: number, signal?: AbortSignal): AsyncGenerator<LanguageEvent>;
  /** Resolves when the server has taken them. @throws DormouseError `invalid_argument` for messages of which one is missing. */
  send(first: number, messages: readonly string[]): Promise<void>;
  kill(): void;
}

/** What {@link startServer} starts. */
export interface ServerSessionOptions {
  info: LanguageSession;
  spawner: Spawner;
  request: SpawnRequest;
  /** The program, for what is told of its end. */
  program: string;
  /** For what is told when it has been ended for taking more. */
  limitMib: number;
  /** Once, for whatever reason. */
  onEnd: (reason: string) => void;
}

type Said = Pick<LanguageEvent, "message" | "log" | "ended">;

/** Starts a server's process. @throws DormouseError as the spawner does; nothing runs then. */
export async function startServer(options: ServerSessionOptions): Promise<LanguageServerSession> {
  const { info, spawner, request, program, limitMib } = options;
  const outbox = createOutbox<Said>({
    maxCharacters: limits.languageOutboxCharacters,
    charactersOf: ({ message = "", log = "", ended = "" }) => message.length + log.length + ended.length,
    lost: "sessionId: the page fell behind this server, and begins anew",
  });
  let complaint = "";
  let problem: string | undefined;
  let lastMessage = 0;
  let isOver = false;
  let kill = () => {};
  const fail = (reason: string) => {
    problem ??= reason;
    kill();
  };
  const take = messageReader("the language server", (message) => {
    if (message.length <= limits.languageMessageCharacters) outbox.push(() => ({ message }));
    else fail(`it sent a message of more than ${limits.languageMessageCharacters} characters`);
  });

  const process = await spawner.spawn(
    { ...request, stdin: true },
    {
      onOutput(stream, bytes) {
        if (problem !== undefined) return;
        if (stream === "stderr") {
          const log = bytes.toString("utf8");
          complaint = (complaint + log).slice(-keptComplaintCharacters);
          outbox.push(() => ({ log }));
          return;
        }
        try {
          take(bytes);
        } catch (error) {
          fail(DormouseError.from(error).message);
        }
      },
      onExit({ exitCode, signal }) {
        isOver = true;
        const reason = problem ?? endOf({ exitCode, signal, program, complaint, limitMib });
        outbox.push(() => ({ ended: reason }));
        outbox.end();
        options.onEnd(reason);
      },
    },
  );
  kill = () => process.kill();
  if (problem !== undefined) kill();

  return {
    info,
    get isFollowed() {
      return outbox.isFollowed;
    },
    get isOver() {
      return isOver;
    },

    async *attach(after, signal) {
      for await (const { index, item } of outbox.follow(after, signal) as AsyncGenerator<Numbered<Said>>) {
        yield { index, ...item };
      }
    },

    async send(first, messages) {
      if (first > lastMessage + 1) {
        throw new DormouseError("invalid_argument", `first: ${first} comes after ${lastMessage + 1}, which is missing`);
      }
      const fresh = messages.slice(lastMessage + 1 - first);
      lastMessage += fresh.length;
      if (fresh.length > 0 && !isOver) await process.write(Buffer.concat(fresh.map(encodeMessage)));
    },

    kill: () => kill(),
  };
}

/** V8, Go and the loader say so in their own ways when there is no more to be had. */
const outOfMemory = /out of memory|allocate memory|allocation failed|ENOMEM/i;

function endOf(end: {
  exitCode: number;
  signal: string | null;
  program: string;
  complaint: string;
  limitMib: number;
}): string {
  const { exitCode, signal, program, complaint, limitMib } = end;
  const said = complaint.trim().split("\n").slice(-3).join("\n");
  if (exitCode === 127) return `${program} is not installed in this workspace`;
  if (exitCode === 126) return `${program} may not be executed`;
  if (outOfMemory.test(complaint)) return `it needed more memory than the ${limitMib} MiB that it may have`;
  if (signal) return `it was ended by ${signal}`;
  if (exitCode === 0) return "it has ended";
  return `it ended with ${exitCode}${said && `: ${said}`}`;
}

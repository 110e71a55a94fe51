import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { FileHandle } from "node:fs/promises";
import { createInterface } from "node:readline";
import { DormouseError, withTimeout } from "@dormouse/base";
import { BlockSet, blockBytes } from "../block-set.ts";
import { pageBytes } from "../guest-memory.ts";
import { isAlive, type ProcessIdentity } from "../process.ts";
import type { MemoryCopier } from "./copier.ts";

/** Copying goes on beside the guest until a round found no more than this: 4 MiB, a millisecond's work. */
const enoughPages = 1024;
/** Valves for a guest that writes faster than can be copied: it stands still a little longer then. */
const maxRounds = 8;
const maxApproachMs = 3_000;
const answerTimeoutMs = 30_000;
/** Its words are short, but for one list of blocks. */
const maxWordsBytes = 1000;

/** What is to be copied, and by what. */
export interface TrackedMemory {
  /** The helper, see `native/copy-pages.c`. */
  copyPages: string;
  process: ProcessIdentity;
  /** Where in the process the guest's memory lies. */
  address: number;
  bytes: number;
  /** Receives the pages. */
  staging: FileHandle;
}

/**
 * A copy by the helper, of pages that the kernel saw written. What a copy took counts as seen from the moment it was
 * taken, also when the copy fails.
 * @throws DormouseError `unimplemented` from `approach` when the kernel does not track this process's memory.
 */
export async function openTrackedCopier(memory: TrackedMemory, signal: AbortSignal): Promise<MemoryCopier> {
  const { process, address, bytes } = memory;
  const args = [process.pid, address, bytes].map(String);
  const helper = spawn(memory.copyPages, args, {
    cwd: "/",
    env: {},
    stdio: ["pipe", "pipe", "pipe", memory.staging.fd],
  });
  const talk = converse(helper);
  try {
    await talk.expect("open", signal);
    // It holds the memory of whoever had the number when it began; that is this process only if it still runs.
    if (!isAlive(process)) throw new DormouseError("unavailable", `process ${process.pid} is no longer the VMM`);
  } catch (error) {
    await talk.end();
    throw error;
  }
  let isComplete = false;
  return {
    async approach(request, own) {
      isComplete = request.isComplete;
      const limits = [request.isRunning ? maxRounds : 0, enoughPages, maxApproachMs];
      const also = request.also ? [request.also.toHex()] : [];
      talk.say(["collect", isComplete ? "complete" : "changed", ...limits, ...also].join(" "));
      const [rounds] = await talk.expect("close", own);
      return { rounds: Number(rounds) };
    },
    async finish(own) {
      talk.say("stopped");
      const [pages] = await talk.expect("stands", own);
      return Number(pages) * pageBytes;
    },
    async complete(own) {
      const [pages, ...lists] = await talk.expect("blocks", own);
      const [blocks, unmarked] = [0, 1].map((list) =>
        BlockSet.fromHex(Math.ceil(bytes / blockBytes), lists[list] ?? ""),
      ) as [BlockSet, BlockSet];
      return { blocks, unmarked, isComplete, copiedBytes: Number(pages) * pageBytes };
    },
    [Symbol.asyncDispose]: () => talk.end(),
  };
}

/** Line by line with the helper. */
function converse(helper: ChildProcess) {
  const { stdin, stdout, stderr } = helper;
  if (!stdin || !stdout || !stderr) throw new DormouseError("internal", "the helper has no pipes");
  const ended = once(helper, "close").catch(() => {
    // It could not be started; the lines end at once, and `words` says why.
  });
  let words = "";
  helper.on("error", (error) => {
    words = error.message;
  });
  stderr.on("data", (data) => {
    words = `${words}${data}`.slice(-maxWordsBytes);
  });
  stdin.on("error", () => {
    // It ended; that is said where its answer is awaited.
  });
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<[string, ...string[]]> => {
    const { value, done } = await lines.next();
    const [verb = "", ...rest] = done ? [] : value.split(" ");
    if (!done) return [verb, ...rest];
    await ended;
    throw new DormouseError("unavailable", `the helper that copies memory ended: ${words.trim() || helper.signalCode}`);
  };
  return {
    say: (line: string) => void stdin.write(`${line}\n`),
    async expect(verb: string, signal: AbortSignal): Promise<string[]> {
      const [got, ...rest] = await withTimeout("copying the guest's memory", answerTimeoutMs, next, signal);
      if (got === verb) return rest;
      if (got === "untracked") throw new DormouseError("unimplemented", `writes are not tracked: ${rest.join(" ")}`);
      throw new DormouseError(
        /No space left/.test(rest.join(" ")) ? "resource_exhausted" : "internal",
        `copying the guest's memory failed: ${got === "error" ? rest.join(" ") : `unexpected ${got}`}`,
      );
    },
    async end() {
      helper.kill("SIGKILL");
      await ended;
    },
  };
}

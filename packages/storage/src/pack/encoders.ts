import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { DormouseError } from "@dormouse/base";
import type { StoredBytes } from "../format/block-codec.ts";
import type { Cipher, StorageKey } from "../format/encryption.ts";

/** More are of no use: what comes of them is written by one thread. */
const maxThreads = 4;
/** How many threads encode at most; one processor is left for who reads and writes. */
export const encodingThreads = Math.min(maxThreads, Math.max(1, availableParallelism() - 1));

/** To an encoding thread: whole blocks, one after the other. */
export interface EncodeRequest {
  plain: Uint8Array;
  key: StorageKey | undefined;
}

/** From an encoding thread: where each block's stored bytes lie in `bytes`; undefined for one of zeros. */
export interface EncodedBlocks {
  bytes: Uint8Array;
  blocks: ({ start: number; end: number; sha256: string } | undefined)[];
}

interface EncodingThread {
  readonly waiting: PromiseWithResolvers<EncodedBlocks>[];
  send(request: EncodeRequest): Promise<EncodedBlocks>;
}

const threads: EncodingThread[] = [];

/**
 * Encodes blocks, as `encodeBlock` does, on threads that all writers of this process share: hashing, compressing and sealing
 * takes long enough for what else a daemon has to answer to suffer. They start when they are first needed and keep no
 * process alive.
 * @param plain whole blocks, one after the other; its memory is handed over and is gone for the caller.
 * @returns what is to be stored for each; undefined for a block of zeros.
 * @throws DormouseError `internal` when the thread ends.
 */
export async function encodeBlocks(
  plain: Uint8Array<ArrayBuffer>,
  cipher: Cipher | undefined,
): Promise<(StoredBytes | undefined)[]> {
  const { bytes, blocks } = await leastBusy().send({ plain, key: cipher?.key });
  return blocks.map(
    (block) =>
      block && {
        bytes: Buffer.from(bytes.buffer, bytes.byteOffset + block.start, block.end - block.start),
        sha256: block.sha256,
      },
  );
}

function leastBusy(): EncodingThread {
  const [first] = threads.toSorted((one, other) => one.waiting.length - other.waiting.length);
  if (first && (first.waiting.length === 0 || threads.length >= encodingThreads)) return first;
  const thread = startThread();
  threads.push(thread);
  return thread;
}

function startThread(): EncodingThread {
  const worker = new Worker(new URL("encode-thread.ts", import.meta.url), {
    env: {},
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const waiting: EncodingThread["waiting"] = [];
  const gone = (cause: unknown) => {
    const at = threads.indexOf(thread);
    if (at >= 0) threads.splice(at, 1);
    for (const { reject } of waiting.splice(0)) {
      reject(new DormouseError("internal", "the thread that encodes blocks ended", { cause }));
    }
  };
  worker.on("message", (encoded: EncodedBlocks) => {
    waiting.shift()?.resolve(encoded);
    if (waiting.length === 0) worker.unref();
  });
  worker.on("error", gone);
  worker.on("exit", gone);
  const thread: EncodingThread = {
    waiting,
    send(request) {
      const answer = Promise.withResolvers<EncodedBlocks>();
      waiting.push(answer);
      worker.ref();
      worker.postMessage(request, [request.plain.buffer as ArrayBuffer]);
      return answer.promise;
    },
  };
  return thread;
}

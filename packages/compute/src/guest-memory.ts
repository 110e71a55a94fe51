import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { DormouseError } from "@dormouse/base";
import { BlockSet, blockBytes } from "./block-set.ts";

/** Guests and hosts here use pages of 4 KiB. */
export const pageBytes = 4096;

/** Neighbouring pages, counted from the start of the guest's memory. */
interface PageRun {
  firstPage: number;
  pageCount: number;
}

/**
 * The memory of a guest as its VMM process holds it: a private mapping of a file.
 * Read through /proc/PID/mem, which needs root; the guest must stand still.
 */
interface GuestMemory extends AsyncDisposable {
  /** Fills `target` from the guest's memory at `page`. */
  read(target: Uint8Array, page: number): Promise<void>;
  /** The pages that the process no longer shares with the file, because it wrote to them. */
  privatePages(): Promise<PageRun[]>;
}

/**
 * Opens the mapping of `file` in process `pid`.
 * @throws DormouseError `internal` when the process does not map all of the file as one piece.
 */
export async function openGuestMemory(pid: number, file: string, bytes: number): Promise<GuestMemory> {
  const address = await findGuestMemory(pid, file, bytes);
  const memory = await open(`/proc/${pid}/mem`, "r");
  return {
    read: (target, page) => readFully(memory, target, address + page * pageBytes),
    privatePages: () => readPrivatePages(pid, address, bytes),
    [Symbol.asyncDispose]: () => memory.close(),
  };
}

/** The kernel may give less than asked. */
async function readFully(memory: FileHandle, target: Uint8Array, address: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await memory.read(target, done, target.length - done, address + done);
    if (bytesRead === 0) throw new DormouseError("unavailable", "the VMM's memory went away: the process has ended");
    done += bytesRead;
  }
}

/**
 * Address of the file's first byte in the process, from /proc/PID/maps (proc(5)).
 * @throws DormouseError `internal` when the process does not map all of the file as one piece.
 */
export async function findGuestMemory(pid: number, file: string, bytes: number): Promise<number> {
  const { ino } = await stat(file);
  let address: number | undefined;
  let mapped = 0;
  for (const line of (await readFile(`/proc/${pid}/maps`, "utf8")).split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ (\d+)\s+(.*)$/.exec(line);
    if (!match || Number(match[4]) !== ino) continue;
    // A file that was shown whole before it was, and is not shown there any more, has no place.
    if (!match[5]?.endsWith(basename(file)) && match[5] !== "/") continue;
    const [start = 0, end = 0, offset = 0] = match.slice(1, 4).map((field) => Number.parseInt(field, 16));
    // One mapping may be split into areas; they still lie side by side.
    address ??= start - offset;
    if (start - offset !== address) throw new DormouseError("internal", `${file} is mapped more than once by ${pid}`);
    mapped += end - start;
  }
  if (address === undefined || mapped !== bytes) {
    throw new DormouseError("internal", `process ${pid} maps ${mapped} bytes of ${file}, expected ${bytes}`);
  }
  return address;
}

// Bits of the upper half of a pagemap entry (https://docs.kernel.org/admin-guide/mm/pagemap.html).
const present = 1 << 31;
const swapped = 1 << 30;
const fileOrShared = 1 << 29;

async function readPrivatePages(pid: number, address: number, bytes: number): Promise<PageRun[]> {
  return findRuns(await readPagemap(pid, address, bytes));
}

/** The entries of a part of a process's memory, as 32-bit halves, low before high. */
async function readPagemap(pid: number, address: number, bytes: number): Promise<Uint32Array> {
  const entries = Buffer.alloc((bytes / pageBytes) * 8);
  const pagemap = await open(`/proc/${pid}/pagemap`, "r");
  try {
    await readFully(pagemap, entries, (address / pageBytes) * 8);
  } finally {
    await pagemap.close();
  }
  return new Uint32Array(entries.buffer, entries.byteOffset, entries.length / 4);
}

/**
 * Blocks of which a process has mapped any page, of the guest's memory in one piece at `address`.
 * @throws DormouseError `unavailable` when the process has ended.
 */
export async function readTouchedBlocks(pid: number, address: number, bytes: number): Promise<BlockSet> {
  const halves = await readPagemap(pid, address, bytes);
  const blocks = new BlockSet(Math.ceil(bytes / blockBytes));
  for (let page = 0; page < halves.length / 2; page++) {
    if (((halves[page * 2 + 1] ?? 0) & (present | swapped)) !== 0)
      blocks.add(Math.floor((page * pageBytes) / blockBytes));
  }
  return blocks;
}

/** Runs of private pages in a pagemap, given as 32-bit halves, low before high. */
export function findRuns(halves: Uint32Array): PageRun[] {
  const runs: PageRun[] = [];
  let run: PageRun | undefined;
  for (let page = 0; page < halves.length / 2; page++) {
    const high = halves[page * 2 + 1] ?? 0;
    const isPrivate = (high & (present | swapped)) !== 0 && (high & fileOrShared) === 0;
    if (!isPrivate) {
      run = undefined;
    } else if (run) {
      run.pageCount++;
    } else {
      run = { firstPage: page, pageCount: 1 };
      runs.push(run);
    }
  }
  return runs;
}

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run, writeFileAtomic } from "@dormouse/base/node";
import { createTestFolder } from "./test-folder.ts";

/** A library that makes a process's disk fail, see `failing-io.c`. */
export interface FailingIo extends AsyncDisposable {
  /** For a process whose writes below `folder` are to fail when they are told to. */
  environment(folder: string): Record<string, string>;
  /** From now on they do, as on a disk that is broken or full. */
  fail(how: "EIO" | "ENOSPC"): Promise<void>;
  heal(): Promise<void>;
}

/** Compiles it; takes a C compiler, as the product does. */
export async function createFailingIo(): Promise<FailingIo> {
  const folder = await createTestFolder("failing-io");
  const library = join(folder.path, "failing-io.so");
  const sign = join(folder.path, "fails");
  const source = fileURLToPath(new URL("./failing-io.c", import.meta.url));
  await run("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source]);
  return {
    environment: (below) => ({
      LD_PRELOAD: library,
      DORMOUSE_FAILS_BELOW: `${below}/`,
      DORMOUSE_FAILS_WHILE: sign,
    }),
    fail: (how) => writeFileAtomic(sign, how),
    heal: () => rm(sign, { force: true }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

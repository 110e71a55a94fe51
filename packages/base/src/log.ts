/** Severity, lowest first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Structured fields of a log line. Values of fields named like secrets are replaced. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes one JSON line per event. Children add fields to every line. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  child(fields: LogFields): Logger;
}

const order: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const secretName = /token|secret|password|authorization|cookie|api_?key/i;
const maxFieldLength = 4096;

/**
 * A logger that writes lines at or above `level` to `write`. Fields whose name looks
 * like a secret's are never written; errors are written with stack and cause.
 */
export function createLogger(options: { level?: LogLevel; write: (line: string) => void; fields?: LogFields }): Logger {
  const threshold = order[options.level ?? "info"];
  const log = (level: LogLevel, message: string, fields: LogFields = {}) => {
    if (order[level] < threshold) return;
    const line = { time: new Date().toISOString(), level, message, ...options.fields, ...fields };
    options.write(JSON.stringify(line, redact));
  };
  return {
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
    child: (fields) => createLogger({ ...options, fields: { ...options.fields, ...fields } }),
  };
}

function redact(this: unknown, key: string, value: unknown): unknown {
  if (secretName.test(key)) return "[redacted]";
  // `value` has been through toJSON already, which leaves out what only the log should hold.
  const original = (this as Readonly<Record<string, unknown>>)[key];
  if (original instanceof Error) {
    return { name: original.name, message: original.message, stack: original.stack, cause: original.cause };
  }
  if (typeof value === "string" && value.length > maxFieldLength) return `${value.slice(0, maxFieldLength)}…`;
  if (typeof value === "bigint") return String(value);
  return value;
}

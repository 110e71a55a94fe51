import { DormouseError } from "./errors.ts";

/** The part of a Zod schema that is needed here; this package depends on nothing. */
interface ConfigSchema<T> {
  safeParse(
    value: unknown,
  ): { success: true; data: T } | { success: false; error: { issues: { path: PropertyKey[]; message: string }[] } };
}

/**
 * The configuration of a part of the platform that runs as a process of its own: JSON in
 * the environment variable `name`, which is removed there, so that children do not
 * inherit its secrets; without it, the first message of the process that started this
 * one, which can so be started, and load its code, before its configuration is known.
 * @throws DormouseError `invalid_argument` naming each field that is missing or wrong.
 */
export async function readServiceConfig<T>(name: string, schema: ConfigSchema<T>): Promise<T> {
  const text = process.env[name];
  delete process.env[name];
  const parsed = schema.safeParse(text === undefined ? await firstMessage(name) : parseJson(name, text));
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new DormouseError("invalid_argument", `${name}: ${lines.join("; ")}`);
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DormouseError("invalid_argument", `${name} must hold the configuration as JSON`, { cause: error });
  }
}

/** Waits as long as the parent is there: it may have to build for minutes what the configuration names. */
function firstMessage(name: string): Promise<unknown> {
  if (!process.connected) throw new DormouseError("invalid_argument", `${name} must hold the configuration as JSON`);
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown) => {
      process.off("disconnect", onDisconnect);
      resolve(message);
    };
    const onDisconnect = () => {
      process.off("message", onMessage);
      reject(new DormouseError("cancelled", "the parent is gone"));
    };
    process.once("message", onMessage).once("disconnect", onDisconnect);
  });
}

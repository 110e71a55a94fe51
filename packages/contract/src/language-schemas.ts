import { z } from "zod";
import { limits } from "./limits.ts";

/** Chosen by whoever starts, so that it may ask twice. */
export const languageSessionId = z.string().regex(/^[A-Za-z0-9-]{8,64}$/, "an id has 8 to 64 letters, digits and -");

/** The servers that every machine has. */
export const languageServerName = z.enum(["typescript", "python", "json", "css", "html", "yaml", "bash"]);
export type LanguageServerName = z.infer<typeof languageServerName>;

/** One of the machine's own, or a command of the user's that speaks the protocol through its standard streams. */
export const languageServer = z.union([
  z.object({ name: languageServerName }),
  z.object({ command: z.array(z.string().max(4096)).min(1).max(100) }),
]);
export type LanguageServer = z.infer<typeof languageServer>;

export const languageSession = z.object({
  sessionId: languageSessionId,
  /** What runs, for people: e.g. `TypeScript 5.9.3 of the workspace`. */
  title: z.string(),
  /** What the server wants to be told when it is initialized, beside what the editor has for it. */
  initializationOptions: z.record(z.string(), z.unknown()),
  /** Where the machine has JSON schemas, by the path that a server reads them from. */
  schemaFolder: z.string(),
});
export type LanguageSession = z.infer<typeof languageSession>;

/** A message of the Language Server Protocol as JSON text: it is read where it is for, and not on the way. */
export const languageMessage = z.string().max(limits.languageMessageCharacters);

export const languageEvent = z.object({
  /** Counts events from 1: attach again with the last one to go on. The first event has none of the rest. */
  index: z.number().int(),
  message: z.string().optional(),
  /** What the server wrote to its standard error. */
  log: z.string().optional(),
  /** It has ended, and why; the last event. */
  ended: z.string().optional(),
});
export type LanguageEvent = z.infer<typeof languageEvent>;

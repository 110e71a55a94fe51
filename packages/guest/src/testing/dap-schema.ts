import { Ajv, type ValidateFunction } from "ajv";
import schema from "./debug-adapter-protocol.schema.json" with { type: "json" };

interface Message {
  type: string;
  command?: string;
  event?: string;
  success?: boolean;
}

const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
// Written for draft 4, of which it uses nothing that differs; its own name for that draft is not known here.
ajv.addSchema({ definitions: schema.definitions, $id: "dap" });
const validators = new Map<string, ValidateFunction | undefined>();

/**
 * What is wrong with a message, by the published schema of the Debug Adapter Protocol; nothing for one that it has no
 * definition for, as adapters' own events and requests.
 */
export function dapProblems(message: unknown): string[] {
  const { type, command, event, success } = message as Message;
  const base = type === "event" ? `${event}` : `${command}`;
  const kind = type === "event" ? "Event" : type === "request" ? "Request" : "Response";
  // A failed answer has the error's body and not the answer's.
  const name = success === false ? "ErrorResponse" : `${base.charAt(0).toUpperCase()}${base.slice(1)}${kind}`;
  const known = name in schema.definitions ? name : kind;
  if (!validators.has(known)) validators.set(known, ajv.getSchema(`dap#/definitions/${known}`));
  const validate = validators.get(known);
  if (!validate || validate(message)) return [];
  return (validate.errors ?? []).map(({ instancePath, message: what }) => `${name}${instancePath} ${what}`);
}

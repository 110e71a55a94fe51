import { encodeMessage, foreign, messageReader } from "../framing.ts";

/** A request of the Debug Adapter Protocol, either way. */
export interface DapRequest {
  seq: number;
  type: "request";
  command: string;
  arguments?: Readonly<Record<string, unknown>> | undefined;
}

/** The answer to a request. */
export interface DapResponse {
  seq: number;
  type: "response";
  request_seq: number;
  success: boolean;
  command: string;
  message?: string;
  body?: Readonly<Record<string, unknown>> | undefined;
}

/** What an adapter tells of itself. */
export interface DapEvent {
  seq: number;
  type: "event";
  event: string;
  body?: Readonly<Record<string, unknown>> | undefined;
}

/** Any message of the protocol. */
export type DapMessage = DapRequest | DapResponse | DapEvent;

const speaker = "the debug adapter";

/** A message as it is written. */
export function encodeDap(message: DapMessage): Buffer {
  return encodeMessage(JSON.stringify(message));
}

/**
 * Reads messages out of a stream of bytes, however it is cut.
 * @returns takes the next bytes. @throws DormouseError `data_loss` for what is not the protocol.
 */
export function dapReader(onMessage: (message: DapMessage) => void): (bytes: Buffer) => void {
  return messageReader(speaker, (json) => onMessage(parse(json)));
}

function parse(text: string): DapMessage {
  try {
    const message = JSON.parse(text) as DapMessage;
    if (["request", "response", "event"].includes(message.type)) return message;
  } catch {
    // Told below, as for JSON that is no message.
  }
  throw foreign(speaker, text.slice(0, 80));
}

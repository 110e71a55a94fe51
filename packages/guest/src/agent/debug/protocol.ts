import { DormouseError } from "@dormouse/base";

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

/** An adapter that says it has more than this to say is none. */
const maxMessageBytes = 64 * 1024 * 1024;
const maxHeaderBytes = 4096;
const separator = "\r\n\r\n";

/** A message as it is written: a header with its length, then JSON. */
export function encodeDap(message: DapMessage): Buffer {
  const body = Buffer.from(JSON.stringify(message));
  return Buffer.concat([Buffer.from(`Content-Length: ${body.length}${separator}`), body]);
}

/**
 * Reads messages out of a stream of bytes, however it is cut.
 * @returns takes the next bytes. @throws DormouseError `data_loss` for what is not the protocol.
 */
export function dapReader(onMessage: (message: DapMessage) => void): (bytes: Buffer) => void {
  let pieces: Buffer[] = [];
  let size = 0;
  let wanted: number | undefined;
  const joined = () => {
    const all = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
    pieces = [all];
    return all;
  };
  const drop = (count: number) => {
    const rest = joined().subarray(count);
    pieces = [rest];
    size = rest.length;
  };
  return (bytes) => {
    pieces.push(bytes);
    size += bytes.length;
    for (;;) {
      if (wanted === undefined) {
        const all = joined();
        const end = all.indexOf(separator);
        if (end < 0 && size > maxHeaderBytes) throw notDap(all.toString("latin1", 0, 80));
        if (end < 0) return;
        const header = all.toString("latin1", 0, end);
        const length = Number(/^Content-Length: *(\d+)$/im.exec(header)?.[1] ?? Number.NaN);
        if (!(length <= maxMessageBytes)) throw notDap(header.slice(0, 80));
        wanted = length;
        drop(end + separator.length);
      }
      if (size < wanted) return;
      const text = joined().toString("utf8", 0, wanted);
      drop(wanted);
      wanted = undefined;
      onMessage(parse(text));
    }
  };
}

function parse(text: string): DapMessage {
  try {
    const message = JSON.parse(text) as DapMessage;
    if (["request", "response", "event"].includes(message.type)) return message;
  } catch {
    // Told below, as for JSON that is no message.
  }
  throw notDap(text.slice(0, 80));
}

function notDap(text: string): DormouseError {
  return new DormouseError("data_loss", `the debug adapter does not speak its protocol: ${JSON.stringify(text)}`);
}

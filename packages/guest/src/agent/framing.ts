import { DormouseError } from "@dormouse/base";

/** A program that says it has more than this to say speaks another protocol. */
const maxMessageBytes = 64 * 1024 * 1024;
const maxHeaderBytes = 4096;
const separator = "\r\n\r\n";

/**
 * A message as the Debug Adapter Protocol and the Language Server Protocol write it: a header with its length in bytes,
 * then JSON.
 */
export function encodeMessage(json: string): Buffer {
  const body = Buffer.from(json);
  return Buffer.concat([Buffer.from(`Content-Length: ${body.length}${separator}`), body]);
}

/**
 * Reads messages out of a stream of bytes, however it is cut.
 * @param speaker names in errors who does not speak the protocol.
 * @returns takes the next bytes. @throws DormouseError `data_loss` for what is not the protocol.
 */
export function messageReader(speaker: string, onMessage: (json: string) => void): (bytes: Buffer) => void {
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
        if (end < 0 && size > maxHeaderBytes) throw foreign(speaker, all.toString("latin1", 0, 80));
        if (end < 0) return;
        const header = all.toString("latin1", 0, end);
        const length = Number(/^Content-Length: *(\d+)$/im.exec(header)?.[1] ?? Number.NaN);
        if (!(length <= maxMessageBytes)) throw foreign(speaker, header.slice(0, 80));
        wanted = length;
        drop(end + separator.length);
      }
      if (size < wanted) return;
      const text = joined().toString("utf8", 0, wanted);
      drop(wanted);
      wanted = undefined;
      onMessage(text);
    }
  };
}

/** What is thrown for `text`, which is not of the protocol. */
export function foreign(speaker: string, text: string): DormouseError {
  return new DormouseError("data_loss", `${speaker} does not speak its protocol: ${JSON.stringify(text)}`);
}

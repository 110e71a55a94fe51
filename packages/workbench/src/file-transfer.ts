import { DormouseError, type ErrorCode, errorCodes, retry } from "@dormouse/base";
import { ownFetch } from "./page/own-requests.ts";

/** Which part of a file {@link FileTransfer.stream} gives. */
export interface StreamOptions {
  /** Bytes left out at the beginning. */
  position: number;
  /** Bytes to give; undefined: to the end. */
  length: number | undefined;
  signal: AbortSignal;
}

/** Files of any size over HTTP, as raw bodies. Errors are DormouseErrors. */
export interface FileTransfer {
  read(path: string): Promise<Uint8Array>;
  stream(path: string, options: StreamOptions): Promise<AsyncIterable<Uint8Array>>;
  write(path: string, content: Uint8Array): Promise<void>;
}

/** Covers the restart of a service on the way. */
const attempts = 6;

/** The transfer of a workspace's files; `base` is `/api/workspaces/{workspace}/guest`. */
export function fileTransfer(base: string): FileTransfer {
  const request = (path: string, init: RequestInit) =>
    retry(
      async () => {
        const response = await ownFetch(`${base}/file?path=${encodeURIComponent(path)}`, init).catch((caught) => {
          throw DormouseError.from(caught, "unavailable");
        });
        if (!response.ok) throw await errorOf(response);
        return response;
      },
      {
        attempts,
        delayMs: 300,
        isRetryable: (error) => error instanceof DormouseError && error.code === "unavailable",
        ...(init.signal ? { signal: init.signal } : {}),
      },
    );

  return {
    read: async (path) => new Uint8Array(await (await request(path, {})).arrayBuffer()),
    async stream(path, { position, length, signal }) {
      const range = `bytes=${position}-${length === undefined ? "" : position + length - 1}`;
      const response = await request(path, { headers: { range }, signal });
      if (!response.body) throw new DormouseError("unavailable", `${path} came without content`);
      return response.body;
    },
    async write(path, content) {
      await request(path, { method: "PUT", body: content as Uint8Array<ArrayBuffer> });
    },
  };
}

async function errorOf(response: Response): Promise<DormouseError> {
  const body: unknown = await response.json().catch(() => undefined);
  const error = DormouseError.fromJSON(body);
  if (error) return error;
  const byStatus: Record<number, ErrorCode> = { 401: "unauthenticated", 403: "permission_denied", 404: "not_found" };
  const code = byStatus[response.status] ?? (response.status >= 502 ? "unavailable" : "unknown");
  return new DormouseError(errorCodes.includes(code) ? code : "unknown", `the workspace answered ${response.status}`);
}

import { Readable } from "node:stream";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { DormouseError } from "@dormouse/base";
import { assertKey, assertPrefix, assertRange, type ObjectBody, type ObjectStore } from "../object-store.ts";
import { naming } from "./s3-errors.ts";

/** Where a {@link createS3Store} keeps its objects. */
export interface S3StoreOptions {
  bucket: string;
  region: string;
  /** Address of an S3-compatible server; default the region's own. */
  endpoint?: string;
  /** Default: what the SDK finds in environment, files and instance metadata. */
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  /** Puts the bucket into the path, for servers without a name for each bucket; default false. */
  isPathStyle?: boolean;
  /** Keys in the bucket begin with this; default nothing. Ends with `/`. */
  prefix?: string;
  /** Attempts of a request in all, the first included; default 4. */
  maxAttempts?: number;
  /** A connection that is not made by then has failed; default 5 s. */
  connectTimeoutMs?: number;
  /** A request or its answer that stands still for so long has failed; default 30 s. */
  idleTimeoutMs?: number;
}

/** A store that holds connections. */
export interface S3Store extends ObjectStore, Disposable {}

/** Parts of an upload, and how many are under way: 16 MiB of memory for a pack, at most four parts of the largest. */
const partBytes = 8 * 1024 * 1024;
const partConcurrency = 2;
/** As many keys as one request removes. */
const removeBatch = 1000;

/**
 * Objects in an S3 bucket (Amazon's, or a server that speaks the same). Bodies of unknown
 * length are uploaded in parts with bounded memory; an upload that fails is taken back,
 * and what a killed process leaves of one is not visible: the bucket's lifecycle rule for
 * incomplete uploads clears it.
 *
 * `ifAbsent` looks for the object first and puts it with `If-None-Match: *`. A server
 * that does not know that header ignores it or refuses it as unimplemented; there, two
 * writers at the same moment may both succeed. Manifests of snapshots carry random bits
 * in their names, and those of files are the same whoever writes them, so that it does
 * not matter.
 */
export function createS3Store(options: S3StoreOptions): S3Store {
  const { bucket } = options;
  const prefix = options.prefix ?? "";
  assertPrefix(prefix);
  const idleTimeoutMs = options.idleTimeoutMs ?? 30_000;
  const client = new S3Client({
    region: options.region,
    endpoint: options.endpoint,
    credentials: options.credentials,
    forcePathStyle: options.isPathStyle ?? false,
    maxAttempts: options.maxAttempts ?? 4,
    requestHandler: {
      connectionTimeout: options.connectTimeoutMs ?? 5_000,
      requestTimeout: idleTimeoutMs,
      throwOnRequestTimeout: true,
      socketTimeout: idleTimeoutMs,
    },
    // Blocks carry a SHA-256; the SDK's own checksums in trailers are unknown to many servers.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  const name = `${options.endpoint ?? `s3 in ${options.region}`}/${bucket}${prefix && `/${prefix}`}`;
  const place = (key: string) => ({ Bucket: bucket, Key: prefix + key });
  let knowsConditions = true;

  async function stat(key: string, signal?: AbortSignal) {
    try {
      const { ContentLength = 0, LastModified } = await client.send(new HeadObjectCommand(place(key)), {
        abortSignal: signal,
      });
      return { bytes: ContentLength, modifiedMs: LastModified?.getTime() ?? 0 };
    } catch (error) {
      const { name: kind, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
      if (kind === "NotFound" || kind === "NoSuchKey" || $metadata?.httpStatusCode === 404) return undefined;
      throw error;
    }
  }

  async function putOnce(key: string, body: ObjectBody, ifNoneMatch: "*" | undefined, signal?: AbortSignal) {
    const params = { ...place(key), IfNoneMatch: ifNoneMatch };
    if (body instanceof Uint8Array) {
      await client.send(new PutObjectCommand({ ...params, Body: body, ContentLength: body.length }), {
        abortSignal: signal,
      });
      return;
    }
    const stream = Readable.from(body, { objectMode: false });
    const upload = new Upload({
      client,
      params: { ...params, Body: stream },
      partSize: partBytes,
      queueSize: partConcurrency,
      leavePartsOnError: false,
    });
    const onAbort = () => {
      stream.destroy(DormouseError.from(signal?.reason, "cancelled"));
      void upload.abort();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await upload.done();
    } finally {
      signal?.removeEventListener("abort", onAbort);
      stream.destroy();
    }
  }

  return {
    name,
    put(key, body, { ifAbsent, signal } = {}) {
      return naming({ key, store: name, signal }, async () => {
        assertKey(key);
        signal?.throwIfAborted();
        if (!ifAbsent) return putOnce(key, body, undefined, signal);
        if (await stat(key, signal)) throw new DormouseError("already_exists", `${key} in ${name} is there already`);
        try {
          await putOnce(key, body, knowsConditions ? "*" : undefined, signal);
        } catch (error) {
          const isUnknown = (error as { name?: string }).name === "NotImplemented" && knowsConditions;
          // A stream is used up; the next put of one will do without the condition from the beginning.
          if (isUnknown) knowsConditions = false;
          if (!isUnknown || !(body instanceof Uint8Array)) throw error;
          await putOnce(key, body, undefined, signal);
        }
      });
    },
    get(key, range = {}) {
      return naming({ key, store: name, signal: range.signal }, async () => {
        assertKey(key);
        assertRange(key, range);
        range.signal?.throwIfAborted();
        const { offset = 0, length } = range;
        // No range can ask for nothing; whether there is such an object must be known all the same.
        if (length === 0 && (await stat(key, range.signal))) return Buffer.alloc(0);
        const end = length === undefined ? "" : Math.max(offset, offset + length - 1);
        const isWhole = offset === 0 && length === undefined;
        try {
          const { Body } = await client.send(
            new GetObjectCommand({ ...place(key), Range: isWhole ? undefined : `bytes=${offset}-${end}` }),
            { abortSignal: range.signal },
          );
          return Buffer.from((await Body?.transformToByteArray()) ?? []);
        } catch (error) {
          if ((error as { name?: string }).name === "InvalidRange") return Buffer.alloc(0);
          throw error;
        }
      });
    },
    stat(key, { signal } = {}) {
      return naming({ key, store: name, signal }, async () => {
        assertKey(key);
        signal?.throwIfAborted();
        return stat(key, signal);
      });
    },
    async *list(below, { signal } = {}) {
      assertPrefix(below);
      let token: string | undefined;
      do {
        const page = await naming({ key: below, store: name, signal }, async () => {
          signal?.throwIfAborted();
          const command = new ListObjectsV2Command({
            Bucket: bucket,
            Prefix: prefix + below,
            ContinuationToken: token,
          });
          return client.send(command, { abortSignal: signal });
        });
        for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
          yield { key: Key.slice(prefix.length), bytes: Size, modifiedMs: LastModified?.getTime() ?? 0 };
        }
        token = page.NextContinuationToken;
      } while (token);
    },
    remove(keys, { signal } = {}) {
      return naming({ key: `${keys.length} objects`, store: name, signal }, async () => {
        for (const key of keys) assertKey(key);
        for (let start = 0; start < keys.length; start += removeBatch) {
          signal?.throwIfAborted();
          const objects = keys.slice(start, start + removeBatch).map((key) => ({ Key: prefix + key }));
          const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: objects, Quiet: true } });
          const { Errors = [] } = await client.send(command, { abortSignal: signal });
          const failed = Errors.find(({ Code }) => Code !== "NoSuchKey");
          if (failed) {
            throw Object.assign(new Error(`${failed.Key}: ${failed.Message ?? failed.Code}`), { name: failed.Code });
          }
        }
        signal?.throwIfAborted();
      });
    },
    [Symbol.dispose]() {
      client.destroy();
    },
  };
}

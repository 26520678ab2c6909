import type { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  PutObjectCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { LongshoreError, failedPrecondition, notFound } from "../errors.ts";
import { Intake } from "./intake.ts";
import type { ByteRange, ObjectInfo, ObjectStore, PutOptions, PutResult } from "./object-store.ts";
import { checkKey } from "./object-store.ts";
import { S3Bucket, type S3Place } from "./s3-bucket.ts";
import { MAX_PARTS, PART_BYTES, inParts, sweepUploads, uploadParts } from "./s3-upload.ts";

/** A bucket that does not answer within it cannot be opened. */
const OPEN_TIMEOUT = 5_000;

/** Opens a bucket as an object store, once it answers, and sweeps what dead puts left. `owner` names its uploads. */
export async function openS3(place: S3Place, owner = "put"): Promise<ObjectStore> {
  const bucket = new S3Bucket(place);
  await checkThere(bucket);
  // Whether what others left can be removed now says nothing of whether the bucket can be used.
  await sweepUploads(bucket).catch(() => undefined);
  return new S3Store(bucket, owner);
}

/** Aborts the uploads of one owner, for whoever had to end that owner by force. */
export function sweepS3(place: S3Place, owner: string): Promise<void> {
  return sweepUploads(new S3Bucket(place), owner);
}

class S3Store implements ObjectStore {
  readonly #bucket: S3Bucket;
  readonly #owner: string;

  constructor(bucket: S3Bucket, owner: string) {
    this.#bucket = bucket;
    this.#owner = owner;
  }

  async put(
    key: string,
    source: AsyncIterable<Uint8Array>,
    { signal, maxBytes = Infinity }: PutOptions = {},
  ): Promise<PutResult> {
    checkKey(key);
    const intake = new Intake(key, Math.min(maxBytes, PART_BYTES * MAX_PARTS));
    const stop = new AbortController();
    const onAbort = () => stop.abort(signal?.reason);
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    const parts = inParts(intake.take(source, stop.signal));
    try {
      const { value: first } = (await parts.next()) as { value: Buffer };
      const etag =
        first.byteLength < PART_BYTES
          ? await this.#putWhole(key, first)
          : await uploadParts(this.#bucket, key, startingWith(first, parts), this.#owner, stop);
      return { ...intake.sum(), etag };
    } finally {
      signal?.removeEventListener("abort", onAbort);
      await parts.return(undefined);
    }
  }

  async get(key: string, { start = 0, end }: ByteRange = {}): Promise<{ stream: Readable; info: ObjectInfo }> {
    checkKey(key);
    const Range = start > 0 || end !== undefined ? `bytes=${start}-${end ?? ""}` : undefined;
    try {
      const found = await this.#bucket.ask((client, Bucket) =>
        client.send(new GetObjectCommand({ Bucket, Key: key, Range })),
      );
      const size = Number(found.ContentRange?.split("/")[1] ?? found.ContentLength);
      return { stream: found.Body as Readable, info: describe(key, size, found) };
    } catch (error) {
      if (isNotFound(error)) throw notFound(`there is no object ${key}`);
      throw error;
    }
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    checkKey(key);
    try {
      const found = await this.#bucket.ask((client, Bucket) =>
        client.send(new HeadObjectCommand({ Bucket, Key: key })),
      );
      return describe(key, found.ContentLength, found);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** S3 itself does not say whether there was one. */
  async delete(key: string): Promise<boolean> {
    if (!(await this.head(key))) return false;
    await this.#bucket.ask((client, Bucket) => client.send(new DeleteObjectCommand({ Bucket, Key: key })));
    return true;
  }

  async move(from: string, to: string): Promise<void> {
    checkKey(to);
    const info = await this.head(from);
    if (!info) throw notFound(`there is no object ${from}`);
    await this.#bucket.ask((client, Bucket) =>
      client.send(
        new CopyObjectCommand({ Bucket, Key: to, CopySource: `${Bucket}/${from}`, CopySourceIfMatch: info.etag }),
      ),
    );
    await this.#bucket.ask((client, Bucket) => client.send(new DeleteObjectCommand({ Bucket, Key: from })));
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    let from: string | undefined;
    do {
      const page = await this.#bucket.ask((client, Bucket) =>
        client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix, ContinuationToken: from })),
      );
      for (const { Key = "", Size, ...found } of page.Contents ?? []) {
        if (!Key.startsWith(".")) yield describe(Key, Size, found);
      }
      from = page.NextContinuationToken;
    } while (from !== undefined);
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(Infinity);
  }

  /** Not to be stopped half-way: it would not be known whether the object is in place. */
  async #putWhole(key: string, Body: Buffer): Promise<string> {
    const { ETag = "" } = await this.#bucket.ask((client, Bucket) =>
      client.send(new PutObjectCommand({ Bucket, Key: key, Body })),
    );
    return ETag;
  }
}

async function checkThere(bucket: S3Bucket): Promise<void> {
  const abortSignal = AbortSignal.timeout(OPEN_TIMEOUT);
  try {
    await bucket.ask((client, Bucket) => client.send(new HeadBucketCommand({ Bucket }), { abortSignal }));
  } catch (error) {
    throw isNotFound(error) ? failedPrecondition(`${bucket}: there is no such bucket`) : error;
  }
}

async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}

function describe(
  key: string,
  size: number | undefined,
  { ETag = "", LastModified = new Date(0) }: { ETag?: string; LastModified?: Date },
): ObjectInfo {
  return { key, size: size ?? 0, etag: ETag, modifiedAt: LastModified };
}

function isNotFound(error: unknown): boolean {
  return error instanceof LongshoreError && error.type === "NOT_FOUND";
}

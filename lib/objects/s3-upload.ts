/**
 * Uploads in parts. S3 keeps the parts of an upload that nobody ends, so every upload under way has a marker in the bucket,
 * as in a directory it has a file: whoever finds one whose writer is dead aborts that upload.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { LongshoreError } from "../errors.ts";
import { INCOMING, incomingName, writerIsDead } from "./incoming.ts";
import type { S3Bucket } from "./s3-bucket.ts";

/** Of each part but the last; S3 allows no less than 5 MiB. */
export const PART_BYTES = 8 * 1024 * 1024;
/** As many as S3 allows in one upload. */
export const MAX_PARTS = 10_000;
/** What is in memory of one upload: so many parts and the one that is being filled. */
const PARTS_AT_ONCE = 3;
/** No upload takes so long: one that began before is dead, whatever host it ran on. */
const STALE_MS = 7 * 86_400_000;
/** Whoever cleans up is often about to end. */
const CLEANUP_TIMEOUT = 5_000;

interface Upload {
  Key: string;
  UploadId: string;
}

/** Cuts what comes into parts of PART_BYTES; the last may be shorter, and is empty only where it is the only one. */
export async function* inParts(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let part = Buffer.allocUnsafe(PART_BYTES);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.byteLength;) {
      if (filled === PART_BYTES) {
        yield part;
        part = Buffer.allocUnsafe(PART_BYTES);
        filled = 0;
      }
      const piece = chunk.subarray(from, from + PART_BYTES - filled);
      part.set(piece, filled);
      filled += piece.byteLength;
      from += piece.byteLength;
    }
  }
  yield part.subarray(0, filled);
}

/**
 * Uploads the parts, a few at once, and answers with the object's ETag. `stop` ends it before the object is in place, and
 * is aborted where a part fails, so that the source ends as well. An upload that fails is aborted.
 */
export async function uploadParts(
  bucket: S3Bucket,
  key: string,
  parts: AsyncIterable<Buffer>,
  owner: string,
  stop: AbortController,
): Promise<string> {
  const { signal } = stop;
  const { UploadId = "" } = await bucket.ask((client, Bucket) =>
    client.send(new CreateMultipartUploadCommand({ Bucket, Key: key })),
  );
  const upload = { Key: key, UploadId };
  const marker = `${INCOMING}/${incomingName(owner)}`;
  const underWay = new Set<Promise<void>>();
  const done: { PartNumber: number; ETag: string | undefined }[] = [];
  const send = async (Body: Buffer, PartNumber: number): Promise<void> => {
    const { ETag } = await bucket.ask((client, Bucket) =>
      client.send(new UploadPartCommand({ Bucket, ...upload, Body, PartNumber }), { abortSignal: signal }),
    );
    done.push({ PartNumber, ETag });
  };
  let ETag: string | undefined;
  try {
    await bucket.ask((client, Bucket) =>
      client.send(new PutObjectCommand({ Bucket, Key: marker, Body: JSON.stringify(upload) })),
    );
    let number = 0;
    for await (const part of parts) {
      const sending = send(part, ++number)
        .catch((error: unknown) => stop.abort(error))
        .finally(() => underWay.delete(sending));
      underWay.add(sending);
      if (underWay.size === PARTS_AT_ONCE) await Promise.race(underWay);
    }
    await Promise.all(underWay);
    signal.throwIfAborted();
    const MultipartUpload = { Parts: done.sort((one, other) => one.PartNumber - other.PartNumber) };
    ({ ETag } = await bucket.ask((client, Bucket) =>
      client.send(new CompleteMultipartUploadCommand({ Bucket, ...upload, MultipartUpload })),
    ));
  } catch (error) {
    stop.abort(error);
    await Promise.all(underWay);
    // Where that fails its marker stays, and with it the way to do it later.
    await abandon(bucket, upload, marker).catch(() => undefined);
    throw error;
  }
  // The object is in place; a marker that stays is found by a sweep, which then has nothing to abort.
  await removeMarker(bucket, marker).catch(() => undefined);
  return ETag ?? "";
}

/** Aborts what dead writers left; with an owner, what that one left. */
export async function sweepUploads(bucket: S3Bucket, owner?: string): Promise<void> {
  const prefix = owner === undefined ? `${INCOMING}/` : `${INCOMING}/${owner}.`;
  const markers = await bucket.ask(async (client, Bucket) => {
    const found: { key: string; began: number }[] = [];
    const query = { Bucket, Prefix: prefix };
    const abortSignal = AbortSignal.timeout(CLEANUP_TIMEOUT);
    for await (const { Contents = [] } of paginateListObjectsV2({ client }, query, { abortSignal })) {
      for (const { Key = "", LastModified } of Contents) found.push({ key: Key, began: Number(LastModified) });
    }
    return found;
  });
  for (const { key, began } of markers) {
    const dead = writerIsDead(key.slice(INCOMING.length + 1)) || Date.now() - began > STALE_MS;
    if (owner !== undefined || dead) await sweepOne(bucket, key);
  }
}

async function sweepOne(bucket: S3Bucket, marker: string): Promise<void> {
  try {
    const text = await bucket.ask(async (client, Bucket) => {
      const abortSignal = AbortSignal.timeout(CLEANUP_TIMEOUT);
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: marker }), { abortSignal });
      return Body!.transformToString();
    });
    await abandon(bucket, JSON.parse(text) as Upload, marker);
  } catch (error) {
    // Its writer, or another who sweeps, was quicker.
    if (!(error instanceof LongshoreError && error.type === "NOT_FOUND")) throw error;
  }
}

async function abandon(bucket: S3Bucket, upload: Upload, marker: string): Promise<void> {
  const abortSignal = AbortSignal.timeout(CLEANUP_TIMEOUT);
  await bucket.ask((client, Bucket) =>
    client.send(new AbortMultipartUploadCommand({ Bucket, ...upload }), { abortSignal }).catch((error: Error) => {
      if (error.name !== "NoSuchUpload") throw error;
    }),
  );
  await removeMarker(bucket, marker);
}

async function removeMarker(bucket: S3Bucket, marker: string): Promise<void> {
  const abortSignal = AbortSignal.timeout(CLEANUP_TIMEOUT);
  await bucket.ask((client, Bucket) => client.send(new DeleteObjectCommand({ Bucket, Key: marker }), { abortSignal }));
}

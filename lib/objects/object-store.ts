import type { Readable } from "node:stream";
import { invalidArgument } from "../errors.ts";

/** What is known of a stored object. */
export interface ObjectInfo {
  key: string;
  /** Bytes. */
  size: number;
  /** Changes whenever the content does; with its quotes, as HTTP wants it. */
  etag: string;
  modifiedAt: Date;
}

/** What a put wrote. */
export interface PutResult {
  size: number;
  /** Hex digest of the content. */
  sha256: string;
  etag: string;
}

export interface PutOptions {
  signal?: AbortSignal;
  /** More bytes than this fail the put with RESOURCE_EXHAUSTED; without it the store's own limit holds. */
  maxBytes?: number;
}

/** Both ends inclusive, as in HTTP; without `end` to the last byte. */
export interface ByteRange {
  start?: number;
  end?: number;
}

/**
 * Files by key, in a directory or in S3. A put is all or nothing: readers see the whole object or the one before it,
 * and a put that failed, was aborted or died with its process leaves nothing behind.
 */
export interface ObjectStore {
  /** Writes an object, replacing one of the same key. Pulls from `source` no faster than it stores. */
  put(key: string, source: AsyncIterable<Uint8Array>, options?: PutOptions): Promise<PutResult>;
  /** Opens an object, or a range of it, to read; NOT_FOUND where there is none. Destroy the stream if it is not read to its end. */
  get(key: string, range?: ByteRange): Promise<{ stream: Readable; info: ObjectInfo }>;
  /** What is known of an object; undefined where there is none. */
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Removes an object; true if there was one. */
  delete(key: string): Promise<boolean>;
  /** Gives an object another key, in the place of one that has it; NOT_FOUND where there is none. */
  move(from: string, to: string): Promise<void>;
  /** Every object whose key begins with `prefix`, in no promised order. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
  /** Room left for objects, in bytes; Infinity where the store does not say. */
  freeBytes(): Promise<number>;
}

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._=-]{0,199}$/;

/**
 * Refuses a key that is not 1 to 8 segments of letters, digits and `._=-`, joined by `/`. A segment cannot begin with a
 * dot, so that no key leaves the store's directory or meets its temporary files.
 */
export function checkKey(key: string): void {
  const segments = key.split("/");
  if (segments.length > 8 || !segments.every((segment) => SEGMENT.test(segment))) {
    throw invalidArgument("key", `${JSON.stringify(key.slice(0, 200))} is not a key of an object`);
  }
}

/** Objects too large for one request: clients PUT them in parts, and the store puts those together. */
import type { PresignedRequest } from "./presigner.ts";

/** One upload in parts. */
export interface PartsUpload {
  /** Of the object that it becomes. */
  key: string;
  /** The store's own id of the upload. */
  upload: string;
}

export interface PartOfUpload extends PartsUpload {
  /** From 1 on. */
  number: number;
  /** Bytes. */
  size: number;
}

/** A part that is there. */
export interface StoredPart {
  number: number;
  /** Bytes. */
  size: number;
  etag: string;
}

export interface Multipart {
  /** Begins an upload, and answers its `upload`. */
  begin(key: string): Promise<string>;
  /** A PUT of one part; one that was put before is replaced. */
  presign(part: PartOfUpload, expiresAt: Date): Promise<PresignedRequest>;
  /** The parts that are there, by number. */
  parts(upload: PartsUpload): Promise<StoredPart[]>;
  /** Makes these parts the object, and removes what there was of the upload. */
  complete(upload: PartsUpload, parts: StoredPart[], signal?: AbortSignal): Promise<void>;
  /** Removes what there is of the upload; also where there is nothing any more. */
  abort(upload: PartsUpload): Promise<void>;
}

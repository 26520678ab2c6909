/** What is known of an upload. */
import type { PutTerms } from "../../lib/objects/presigner.ts";

export type UploadState = "ISSUED" | "COMPLETED";

/** How a large file is cut. */
export interface Parts {
  /** The object store's own id of the upload. */
  upload: string;
  /** Bytes of each but the last. */
  size: number;
  count: number;
}

export interface Upload extends PutTerms {
  _id: string;
  state: UploadState;
  name: string;
  /** Empty where nobody has said it. */
  contentType: string;
  parts?: Parts;
  createTime: Date;
  /** When its URL stops working; of one in parts, until when it may be completed. */
  expireTime: Date;
  completeTime?: Date;
  /** The service that uses the object; it is kept for it. */
  claimedBy?: string;
  /** When it is removed unless something happens before. */
  removeAt?: Date;
  /** Until then one call alone completes or removes it: the one with the token. */
  leaseUntil: Date;
  leaseToken?: string;
}

/** What a completed upload has. */
export interface UploadContent {
  size: number;
  sha256: string;
  contentType: string;
}

const UPLOADS = "uploads/";
/** What the keys begin with that single PUTs go to: so a URL that is used again cannot change the object. */
export const STAGED = "staged/";
/** S3 takes no part that is smaller (but the last), and no more parts. */
const MIN_PART_BYTES = 8 * 1024 ** 2;
const MAX_PARTS = 10_000;
const MIB = 1024 ** 2;

/** The key of an upload's object. */
export function keyOf(id: string): string {
  return UPLOADS + id;
}

/** The upload of an object's key; undefined for an object that is no upload. */
export function idOf(key: string): string | undefined {
  return key.startsWith(UPLOADS) ? key.slice(UPLOADS.length) : undefined;
}

/** Where the one PUT of an upload's URL goes. */
export function stagedKeyOf(id: string): string {
  return STAGED + id;
}

/** The upload of such a key; undefined for another key. */
export function idOfStaged(key: string): string | undefined {
  return key.startsWith(STAGED) ? key.slice(STAGED.length) : undefined;
}

/** How a file of `size` bytes, 1 or more, is cut: into parts of whole MiB, as small as may be. */
export function cut(size: number): { size: number; count: number } {
  const part = Math.max(MIN_PART_BYTES, Math.ceil(size / MAX_PARTS / MIB) * MIB);
  return { size: part, count: Math.ceil(size / part) };
}

/** Bytes that a part of an upload of `total` bytes must have. */
export function sizeOfPart({ size, count }: Parts, total: number, number: number): number {
  return number === count ? total - size * (count - 1) : size;
}

/** The media type to send the object with. */
export function mediaTypeOf({ contentType }: Pick<Upload, "contentType">): string {
  return contentType || "application/octet-stream";
}

/** What to call the object. */
export function fileNameOf({ _id, name }: Pick<Upload, "_id" | "name">): string {
  return name || _id;
}

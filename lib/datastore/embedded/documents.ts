/** Documents as bytes, as the embedded store's file and its threads hold them: BSON, the driver's own. */
import type { Document } from "mongodb";
import * as BSON from "bson";
import { decode } from "./decoding.ts";
import { Refusal, TOO_LARGE } from "../refusal.ts";

/** What was serialized here needs no check for UTF-8. */
const READING = { promoteBuffers: true, validation: { utf8: false } } as const;

const MAX_BYTES = 16 * 1024 * 1024;

/** Undefined fields are left out, as the driver is told to do too. Throws where the document is too large. */
export function serialize(document: Document): Buffer {
  const bytes = serializeWithin(document);
  // What goes beyond its own buffer, of 17 MiB, the library cuts off without a word, or stumbles over.
  if (bytes && bytes.length <= MAX_BYTES) return asBuffer(bytes);
  throw new Refusal({ code: TOO_LARGE, message: "the document is larger than 16 MiB" });
}

function serializeWithin(document: Document): Uint8Array | undefined {
  try {
    return BSON.serialize(document, { ignoreUndefined: true });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

export function deserialize<T extends Document = Document>(bytes: Uint8Array): T {
  return (decode(asBuffer(bytes)) ?? BSON.deserialize(bytes, READING)) as T;
}

/** Splits documents that stand one after the other: each begins with its length. */
export function splitDocuments(joined: Uint8Array): Buffer[] {
  const bytes = asBuffer(joined);
  const documents: Buffer[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const length = bytes.readInt32LE(offset);
    documents.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return documents;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Joins documents in a buffer of its own, which may be handed over to another thread. */
export function joinDocuments(documents: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(documents.reduce((sum, document) => sum + document.length, 0));
  let offset = 0;
  for (const document of documents) {
    joined.set(document, offset);
    offset += document.length;
  }
  return joined;
}

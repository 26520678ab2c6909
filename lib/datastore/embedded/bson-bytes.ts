/** What BSON's bytes mean (https://bsonspec.org/spec.html), as far as this store reads them itself. */

export const DOUBLE = 1;
export const STRING = 2;
export const OBJECT = 3;
export const ARRAY = 4;
export const BINARY = 5;
/** The subtype of bytes that are nothing else. */
export const GENERIC = 0;
export const BOOLEAN = 8;
export const DATE = 9;
export const NULL = 10;
export const INT32 = 16;

/** The first element stands behind the document's length. */
export const FIRST = 4;

/** One byte more of a name's hash, of 24 bits. */
export function hashed(hash: number, byte: number): number {
  return (hash * 31 + byte) & 0xffffff;
}

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}

export function sameBytes(a: Uint8Array, from: number, b: Uint8Array, start: number, length: number): boolean {
  for (let index = 0; index < length; index += 1) if (a[from + index] !== b[start + index]) return false;
  return true;
}

/** The number that stands in a document as the type says, undefined where it is no number. */
export function readNumber(bytes: Uint8Array, type: number, at: number): number | undefined {
  if (type === INT32) return readInt32(bytes, at);
  return type === DOUBLE ? readFloat64(bytes, at) : undefined;
}

const eight = new DataView(new ArrayBuffer(8));

export function readFloat64(bytes: Uint8Array, at: number): number {
  eight.setInt32(0, readInt32(bytes, at), true);
  eight.setInt32(4, readInt32(bytes, at + 4), true);
  return eight.getFloat64(0, true);
}

/** A time: safe as a number. */
export function readInt64(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + 4) * 2 ** 32 + (readInt32(bytes, at) >>> 0);
}

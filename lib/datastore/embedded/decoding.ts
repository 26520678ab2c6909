/**
 * Decodes the documents that services store, in half of the library's time: it knows the names of their fields and makes no
 * string of them again. A document that holds another type than the common ones it leaves to the library.
 */
import type { Document } from "mongodb";
import {
  ARRAY,
  BINARY,
  BOOLEAN,
  DATE,
  DOUBLE,
  FIRST,
  GENERIC,
  hashed,
  INT32,
  NULL,
  OBJECT,
  readFloat64,
  readInt32,
  readInt64,
  sameBytes,
  STRING,
} from "./bson-bytes.ts";

const MAX_NAMES = 1_024;
const MAX_NAME_BYTES = 64;

interface Name {
  bytes: Uint8Array;
  text: string;
}

/** By the hashes of their bytes; of two names with one hash the first is known. */
const names = new Map<number, Name>();

/** Undefined for a document that the library is to decode. */
export function decode(bytes: Buffer): Document | undefined {
  const decoder = new Decoder(bytes);
  const document = decoder.object();
  return decoder.failed ? undefined : document;
}

class Decoder {
  /** It has met what it does not know. */
  failed = false;
  readonly #bytes: Buffer;
  /** What is read next. */
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  object(): Document {
    const bytes = this.#bytes;
    const document: Document = {};
    const last = this.#enter();
    while (this.#at < last && !this.failed) {
      const type = bytes[this.#at] ?? 0;
      const name = this.#name();
      // A field of this name would set the prototype.
      if (name === "__proto__") this.failed = true;
      else document[name] = this.#value(type);
    }
    this.#at = last + 1;
    return document;
  }

  #array(): unknown[] {
    const bytes = this.#bytes;
    const values: unknown[] = [];
    const last = this.#enter();
    while (this.#at < last && !this.failed) {
      const type = bytes[this.#at] ?? 0;
      // The names are the places, in their order.
      this.#at = bytes.indexOf(0, this.#at + 1) + 1;
      values.push(this.#value(type));
    }
    this.#at = last + 1;
    return values;
  }

  #binary(): Buffer | undefined {
    const start = this.#at + 5;
    if (this.#bytes[start - 1] !== GENERIC) this.failed = true;
    this.#at = start + readInt32(this.#bytes, start - 5);
    return this.#bytes.subarray(start, this.#at);
  }

  /** Goes to the first element; answers where the last byte of the object or array is. */
  #enter(): number {
    const start = this.#at;
    this.#at += FIRST;
    return start + readInt32(this.#bytes, start) - 1;
  }

  #value(type: number): unknown {
    const bytes = this.#bytes;
    const at = this.#at;
    switch (type) {
      case STRING:
        this.#at += 4 + readInt32(bytes, at);
        return bytes.toString("utf8", at + 4, this.#at - 1);
      case INT32:
        this.#at += 4;
        return readInt32(bytes, at);
      case DOUBLE:
        this.#at += 8;
        return readFloat64(bytes, at);
      case DATE:
        this.#at += 8;
        return new Date(readInt64(bytes, at));
      case BOOLEAN:
        this.#at += 1;
        return bytes[at] === 1;
      case NULL:
        return null;
      case BINARY:
        return this.#binary();
      case OBJECT:
        return this.object();
      case ARRAY:
        return this.#array();
      default:
        this.failed = true;
        return undefined;
    }
  }

  /** The name of the element that begins here. */
  #name(): string {
    const bytes = this.#bytes;
    const start = this.#at + 1;
    let hash = 0;
    let end = start;
    for (; bytes[end] !== 0; end += 1) hash = hashed(hash, bytes[end] ?? 0);
    this.#at = end + 1;
    const known = names.get(hash);
    if (known?.bytes.length === end - start && sameBytes(known.bytes, 0, bytes, start, end - start)) return known.text;
    const text = bytes.toString("utf8", start, end);
    if (!known && names.size < MAX_NAMES && end - start <= MAX_NAME_BYTES) {
      names.set(hash, { bytes: Uint8Array.from(bytes.subarray(start, end)), text });
    }
    return text;
  }
}

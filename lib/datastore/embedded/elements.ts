/**
 * The elements of BSON documents (https://bsonspec.org/spec.html), found and written without decoding what stands around
 * them.
 */
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
  readInt32,
  readInt64,
  readNumber,
  sameBytes,
  STRING,
} from "./bson-bytes.ts";
import { serialize } from "./documents.ts";
import type { Key } from "./index-key.ts";
import { encodeKey, NULL_KEY } from "./index-key.ts";

/** Bytes that are copied faster one by one than by a view of them. */
const SHORT = 48;
const BUCKETS = 64;
const MISSING = -1;

/** Finds the fields of these names in documents, one document after the other. */
export class FieldFinder {
  readonly #names: readonly Uint8Array[];
  /** The first name of each bucket, and the next of the same bucket. */
  readonly #first = new Int32Array(BUCKETS).fill(MISSING);
  readonly #next: Int32Array;
  readonly #starts: Int32Array;
  readonly #values: Int32Array;
  readonly #ends: Int32Array;
  /** The fields in the order in which the document has them; of the array `foundCount` are this document's. */
  readonly found: Int32Array;
  foundCount = 0;

  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name));
    this.#next = new Int32Array(names.length);
    this.#starts = new Int32Array(names.length);
    this.#values = new Int32Array(names.length);
    this.#ends = new Int32Array(names.length);
    this.found = new Int32Array(names.length);
    for (const [field, name] of this.#names.entries()) {
      const bucket = name.reduce(hashed, 0) % BUCKETS;
      this.#next[field] = this.#first[bucket] ?? MISSING;
      this.#first[bucket] = field;
    }
  }

  /** Looks at a document; false where it holds an element of a type that is not known here. */
  find(bytes: Uint8Array): boolean {
    this.#starts.fill(MISSING);
    this.foundCount = 0;
    const last = bytes.length - 1;
    let at = FIRST;
    while (at < last) {
      const start = at;
      let hash = 0;
      for (at += 1; bytes[at] !== 0; at += 1) hash = hashed(hash, bytes[at] ?? 0);
      const field = this.#fieldAt(bytes, start + 1, at, hash % BUCKETS);
      at += 1;
      const size = valueSize(bytes, bytes[start] ?? 0, at);
      if (size < 0) return false;
      if (field !== MISSING) {
        this.#starts[field] = start;
        this.#values[field] = at;
        this.#ends[field] = at + size;
        this.found[this.foundCount] = field;
        this.foundCount += 1;
      }
      at += size;
    }
    return true;
  }

  /** Where the element begins, with the byte of its type; negative where the document has no such field. */
  start(field: number): number {
    return this.#starts[field] ?? MISSING;
  }

  /** Where the element's value begins. */
  value(field: number): number {
    return this.#values[field] ?? 0;
  }

  /** Where the element ends. */
  end(field: number): number {
    return this.#ends[field] ?? 0;
  }

  #fieldAt(bytes: Uint8Array, start: number, end: number, bucket: number): number {
    let field = this.#first[bucket] ?? MISSING;
    while (field !== MISSING) {
      const name = this.#names[field];
      if (name?.length === end - start && sameBytes(name, 0, bytes, start, name.length)) return field;
      field = this.#next[field] ?? MISSING;
    }
    return MISSING;
  }
}

/** Negative for a type that this store does not write. */
function valueSize(bytes: Uint8Array, type: number, at: number): number {
  switch (type) {
    case DOUBLE:
    case DATE:
      return 8;
    case STRING:
      return 4 + readInt32(bytes, at);
    case OBJECT:
    case ARRAY:
      return readInt32(bytes, at);
    case BINARY:
      return 5 + readInt32(bytes, at);
    case BOOLEAN:
      return 1;
    case NULL:
      return 0;
    case INT32:
      return 4;
    default:
      return -1;
  }
}

/** The key of the value that stands in a document, undefined where it has none, or none is known here. */
export function keyOfElement(bytes: Buffer, type: number, at: number): Key | undefined {
  switch (type) {
    case STRING:
      return bytes.toString("utf8", at + 4, at + 3 + readInt32(bytes, at));
    case DOUBLE:
    case INT32:
      return encodeKey(readNumber(bytes, type, at));
    case DATE:
      return encodeKey(new Date(readInt64(bytes, at)));
    case BOOLEAN:
      return encodeKey(bytes[at] === 1);
    case NULL:
      return NULL_KEY;
    default:
      return undefined;
  }
}

/** Bytes of elements and documents in the making. */
export class ElementBuffer {
  readonly bytes: Buffer;
  length = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Adds an element; throws RangeError where there is no room. */
  add(name: Uint8Array, value: unknown): void {
    if (typeof value === "object" && value !== null && !(value instanceof Date)) return this.#addOther(name, value);
    this.#head(typeOf(value), name);
    if (typeof value === "string") this.#addString(value);
    else if (value instanceof Date) this.#addTime(value.getTime());
    else if (typeof value === "boolean") this.length = this.bytes.writeUInt8(value ? 1 : 0, this.length);
    else if (typeof value === "number" && isInt32(value)) this.length = this.bytes.writeInt32LE(value, this.length);
    else if (typeof value === "number") this.length = this.bytes.writeDoubleLE(value, this.length);
  }

  /** Adds a part of other bytes. */
  copy(bytes: Uint8Array, start: number, end: number): void {
    if (end - start > SHORT) this.bytes.set(bytes.subarray(start, end), this.length);
    else for (let at = start; at < end; at += 1) this.bytes[this.length + at - start] = bytes[at] ?? 0;
    this.length += end - start;
  }

  /** Makes a document of what was added behind the first four bytes. */
  end(): void {
    this.length = this.bytes.writeUInt8(0, this.length);
    this.bytes.writeInt32LE(this.length, 0);
  }

  #head(type: number, name: Uint8Array): void {
    this.length = this.bytes.writeUInt8(type, this.length);
    this.bytes.set(name, this.length);
    this.length = this.bytes.writeUInt8(0, this.length + name.length);
  }

  #addString(value: string): void {
    const at = this.length + 4;
    if (at + value.length * 3 + 1 > this.bytes.length) throw new RangeError("no room for a string");
    const length = this.bytes.write(value, at);
    this.bytes.writeInt32LE(length + 1, this.length);
    this.length = this.bytes.writeUInt8(0, at + length);
  }

  #addBytes(name: Uint8Array, value: Uint8Array): void {
    this.#head(BINARY, name);
    const at = this.bytes.writeInt32LE(value.length, this.length);
    this.length = this.bytes.writeUInt8(GENERIC, at);
    this.copy(value, 0, value.length);
  }

  #addTime(milliseconds: number): void {
    this.bytes.writeInt32LE(milliseconds | 0, this.length);
    this.length = this.bytes.writeInt32LE(Math.floor(milliseconds / 2 ** 32) | 0, this.length + 4);
  }

  /** Bytes; arrays and objects as the library writes them. */
  #addOther(name: Uint8Array, value: object): void {
    if (value instanceof Uint8Array) return this.#addBytes(name, value);
    const bytes = serialize({ v: value });
    this.#head(bytes[FIRST] ?? 0, name);
    this.copy(bytes, FIRST + 3, bytes.length - 1);
  }
}

function typeOf(value: unknown): number {
  if (typeof value === "string") return STRING;
  if (typeof value === "number") return isInt32(value) ? INT32 : DOUBLE;
  if (typeof value === "boolean") return BOOLEAN;
  return value === null ? NULL : DATE;
}

/** As the library decides it, so that equal values are equal bytes. */
function isInt32(value: number): boolean {
  return (value | 0) === value && !Object.is(value, -0);
}

/**
 * Values as SQLite orders them: a number stays a number, a string a text, and the other types become a blob that begins
 * with a byte for the type. SQLite's order (numbers, texts by UTF-8, blobs by bytes) then is MongoDB's.
 */
import type { Document } from "mongodb";

export type Key = number | string | Uint8Array;

/** Null and missing: below all numbers, and unlike SQL's NULL equal to itself, as unique indexes and $ne want it. */
export const NULL_KEY = -Infinity;

/** First bytes of the blobs, in MongoDB's order. */
export const BINARY = 5;
export const BOOLEAN = 8;
export const DATE = 9;

const FALSE_KEY = Uint8Array.of(BOOLEAN, 0);
const TRUE_KEY = Uint8Array.of(BOOLEAN, 1);

/** The key of a value, or undefined where a single key cannot stand for it: arrays, objects, NaN and -Infinity. */
export function encodeKey(value: unknown): Key | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number") return Number.isNaN(value) || value === -Infinity ? undefined : value;
  if (typeof value === "boolean") return value ? TRUE_KEY : FALSE_KEY;
  if (value === null || value === undefined) return NULL_KEY;
  if (value instanceof Date) return dateKey(value);
  if (value instanceof Uint8Array) return binaryKey(value);
  return undefined;
}

/** The key of what stands at the path, or undefined where no single key can stand for it. */
export function keyAt(document: Document, path: readonly string[]): Key | undefined {
  let value: unknown = document;
  for (const part of path) {
    if (Array.isArray(value)) return undefined;
    if (typeof value !== "object" || value === null) return NULL_KEY;
    value = (value as Document)[part];
  }
  return encodeKey(value);
}

export function sameKey(a: Key, b: Key): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}

/** The key as an SQL literal. */
export function quoteKey(key: Key): string {
  if (key === NULL_KEY) return "-9e999";
  if (key === Infinity) return "9e999";
  if (typeof key === "number") return String(key);
  if (typeof key === "string") return quoteText(key);
  return `x'${Buffer.from(key).toString("hex")}'`;
}

function quoteText(text: string): string {
  if (text.includes("\0")) throw new Error("a string with a zero byte cannot stand in a partialFilterExpression");
  return `'${text.replaceAll("'", "''")}'`;
}

let lastDate = { milliseconds: NaN, key: new Uint8Array() };

/** Documents that are written together share their times. */
function dateKey(date: Date): Uint8Array {
  const milliseconds = date.getTime();
  if (milliseconds !== lastDate.milliseconds) lastDate = { milliseconds, key: timeKey(milliseconds) };
  return lastDate.key;
}

/** An unsigned big-endian number with the sign turned, so that bytes order as times do. */
function timeKey(milliseconds: number): Uint8Array<ArrayBuffer> {
  const high = Math.floor(milliseconds / 2 ** 32) ^ -(2 ** 31);
  const low = milliseconds >>> 0;
  return Uint8Array.of(DATE, high >> 24, high >> 16, high >> 8, high, low >> 24, low >> 16, low >> 8, low);
}

/** MongoDB compares the length first. */
function binaryKey(bytes: Uint8Array): Uint8Array {
  const key = new Uint8Array(5 + bytes.length);
  key[0] = BINARY;
  new DataView(key.buffer).setUint32(1, bytes.length);
  key.set(bytes, 5);
  return key;
}

/** MongoDB's order of values (https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/). */
import type { Document } from "mongodb";
import type { Sort } from "../datastore.ts";

/** The place of a value's type in the order; comparisons in a filter hold only between values of one type. */
export function typeRank(value: unknown): number {
  if (value === undefined || value === null) return 1;
  if (typeof value === "number" || typeof value === "bigint") return 2;
  if (typeof value === "string") return 3;
  if (typeof value === "boolean") return 8;
  if (Array.isArray(value)) return 5;
  if (value instanceof Uint8Array) return 6;
  if (value instanceof Date) return 9;
  if (value instanceof RegExp) return 11;
  return 4;
}

/** Negative, zero or positive as `a` sorts before, with or after `b`. */
export function compareValues(a: unknown, b: unknown): number {
  const rank = typeRank(a);
  const difference = rank - typeRank(b);
  if (difference !== 0) return difference;
  if (rank === 1) return 0;
  if (rank === 2) return compareNumbers(a as number, b as number);
  if (rank === 3) return compareStrings(a as string, b as string);
  if (rank === 4) return compareObjects(a as Document, b as Document);
  if (rank === 5) return compareArrays(a as unknown[], b as unknown[]);
  if (rank === 6)
    return (a as Uint8Array).length - (b as Uint8Array).length || Buffer.compare(a as Buffer, b as Buffer);
  return Number(a) - Number(b);
}

/** NaN equals itself and is below all other numbers. */
function compareNumbers(a: number, b: number): number {
  if (a < b) return -1;
  if (a > b) return 1;
  if (a === b) return 0;
  return Number(Number.isNaN(b)) - Number(Number.isNaN(a));
}

/** By code points, as the bytes of UTF-8 order; JavaScript's own order differs above U+D7FF. */
function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const difference = a.charCodeAt(index) - b.charCodeAt(index);
    if (difference !== 0) return (a.codePointAt(index) ?? 0) - (b.codePointAt(index) ?? 0) || difference;
  }
  return a.length - b.length;
}

function compareObjects(a: Document, b: Document): number {
  const left = Object.keys(a);
  const right = Object.keys(b);
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const [leftKey = "", rightKey = ""] = [left[index], right[index]];
    const difference =
      typeRank(a[leftKey]) - typeRank(b[rightKey]) ||
      compareStrings(leftKey, rightKey) ||
      compareValues(a[leftKey], b[rightKey]);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function compareArrays(a: unknown[], b: unknown[]): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const difference = compareValues(a[index], b[index]);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** What documents are sorted by: for each path the value, of an array its least (ascending) or its greatest. */
export function sortKeys(document: Document, sort: Sort): unknown[] {
  return Object.entries(sort).map(([path, direction]) => {
    const values = leaves(document, path.split("."), 0);
    return values.reduce((best, value) => (compareValues(value, best) * direction < 0 ? value : best), values[0]);
  });
}

export function compareSortKeys(a: unknown[], b: unknown[], sort: Sort): number {
  const directions = Object.values(sort);
  for (const [index, direction] of directions.entries()) {
    const [left, right] = [a[index], b[index]];
    // An empty array sorts below null.
    const difference = compareValues(left, right) || Number(right === EMPTY) - Number(left === EMPTY);
    if (difference !== 0) return difference * direction;
  }
  return 0;
}

const EMPTY = undefined;

function leaves(value: unknown, path: string[], depth: number): unknown[] {
  const part = path[depth];
  if (part === undefined) {
    if (!Array.isArray(value)) return [value ?? null];
    return value.length === 0 ? [EMPTY] : value;
  }
  if (Array.isArray(value)) {
    const inside = value.flatMap((element) => (isObject(element) ? leaves(element, path, depth) : []));
    if (/^\d+$/.test(part) && Number(part) < value.length) inside.push(...leaves(value[Number(part)], path, depth + 1));
    return inside.length === 0 ? [null] : inside;
  }
  return isObject(value) ? leaves(value[part], path, depth + 1) : [null];
}

function isObject(value: unknown): value is Document {
  return typeRank(value) === 4;
}

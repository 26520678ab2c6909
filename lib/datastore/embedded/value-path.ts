/** What stands at a dotted path, with MongoDB's reach through arrays. */
import type { Document } from "mongodb";

/** The values that a condition on the path is tried on: what stands there, and of an array its elements and itself. */
export function candidates(document: Document, path: readonly string[]): unknown[] {
  const found: unknown[] = [];
  for (const value of valuesAt(document, path)) {
    if (Array.isArray(value)) found.push(...(value as unknown[]));
    found.push(value);
  }
  return found;
}

/** What stands at the path: several values where it leads through arrays, `undefined` where it leads nowhere. */
export function valuesAt(document: Document, path: readonly string[]): unknown[] {
  const [first] = path;
  if (path.length === 1 && first !== undefined) return [ownValue(document, first)];
  const found: unknown[] = [];
  collect(document, path, 0, found);
  return found;
}

function collect(value: unknown, path: readonly string[], depth: number, found: unknown[]): void {
  const part = path[depth];
  if (part === undefined) {
    found.push(value);
  } else if (Array.isArray(value)) {
    for (const element of value as unknown[]) if (isObject(element)) collect(element, path, depth, found);
    if (/^\d+$/.test(part) && Number(part) < value.length) collect(value[Number(part)], path, depth + 1, found);
  } else if (isObject(value)) {
    collect(ownValue(value, part), path, depth + 1, found);
  } else {
    found.push(undefined);
  }
}

/** The field of a document or the element of an array, nothing of their prototypes. */
export function ownValue(document: Document, key: string): unknown {
  return Object.hasOwn(document, key) ? document[key] : undefined;
}

/** True for an embedded document: not for null, an array, a Date or bytes. */
export function isObject(value: unknown): value is Document {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Date) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof RegExp)
  );
}

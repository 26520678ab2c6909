/**
 * Operations that differ in nothing but their values have one shape. A call sends its shapes once and, as one flat list,
 * the values, which `postMessage` clones for a tenth of what it takes to write and read as many documents.
 */
import type { Document } from "mongodb";
import { isObject } from "./value-path.ts";

/** The names of an object, each with the shape of the object that stands there or null for a value. */
export interface Shape {
  names: string[];
  parts: (Shape | null)[];
  /** All in it that are values. */
  size: number;
}

export interface Shaped {
  /** As JSON, by which the thread knows those that it has seen before. */
  shapes: string[];
  /** For each operation the place of its shape. */
  operations: number[];
  values: unknown[];
  /** About what the values take. */
  bytes: number;
}

/** The operations as shapes and values; undefined where one of them holds what cannot be sent so. */
export function shapeOperations(operations: readonly Document[]): Shaped | undefined {
  const shaped: Shaped = { shapes: [], operations: [], values: [], bytes: 0 };
  const known = new Map<string, number>();
  let last: Shape | undefined;
  let place = 0;
  for (const operation of operations) {
    if (!last || !takeValues(operation, last, shaped.values)) {
      last = shapeOf(operation);
      if (!last || !takeValues(operation, last, shaped.values)) return undefined;
      const text = JSON.stringify(last);
      place = known.get(text) ?? shaped.shapes.push(text) - 1;
      known.set(text, place);
    }
    shaped.operations.push(place);
  }
  shaped.bytes = shaped.values.reduce((sum: number, value) => sum + weigh(value), 0);
  return shaped;
}

/** The operation of that shape whose values begin at the place. */
export function fill(shape: Shape, values: readonly unknown[], from: number): Document {
  const document: Document = {};
  let at = from;
  for (const [index, name] of shape.names.entries()) {
    const part = shape.parts[index];
    document[name] = part ? fill(part, values, at) : values[at];
    at += part ? part.size : 1;
  }
  return document;
}

function shapeOf(document: Document): Shape | undefined {
  const shape: Shape = { names: [], parts: [], size: 0 };
  for (const [name, value] of Object.entries(document) as [string, unknown][]) {
    if (value === undefined) continue;
    const part = isObject(value) ? (isPlain(value) ? shapeOf(value) : undefined) : null;
    // To fill in a field of this name would set the prototype.
    if (part === undefined || name === "__proto__") return undefined;
    shape.names.push(name);
    shape.parts.push(part);
    shape.size += part ? part.size : 1;
  }
  return shape;
}

/** Adds the values of an operation; false, and no value added, where it has another shape or holds other values. */
function takeValues(document: Document, shape: Shape, values: unknown[]): boolean {
  const before = values.length;
  if (collect(document, shape, values)) return true;
  values.length = before;
  return false;
}

function collect(document: Document, { names, parts }: Shape, values: unknown[]): boolean {
  let index = 0;
  for (const name in document) {
    const value: unknown = document[name];
    if (value === undefined) continue;
    if (names[index] !== name) return false;
    const part = parts[index];
    index += 1;
    if (part) {
      if (!isObject(value) || !isPlain(value) || !collect(value, part, values)) return false;
    } else if (isScalar(value) || (Array.isArray(value) && value.every(isScalar))) {
      values.push(value);
    } else if (isBytes(value)) {
      // A copy: to another thread, a part of a buffer would bring all of it along.
      values.push(new Uint8Array(value));
    } else {
      return false;
    }
  }
  return index === names.length;
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** What arrives as it was sent. */
function isScalar(value: unknown): boolean {
  if (typeof value === "object") return value === null || value instanceof Date;
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function weigh(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum: number, element) => sum + weigh(element), 16);
  if (isBytes(value)) return 16 + value.length;
  return 16 + (typeof value === "string" ? value.length : 0);
}

import type { Cell, Column, Row } from "../tabular/table.ts";
import { keysInOrder } from "./json.ts";

/** A problem of the rows themselves; the source says where they came from. */
export class RowShapeError extends Error {
  override readonly name = "RowShapeError";
}

/** The columns that a header row declares, in the order of its keys as the JSON text has them. */
export function readHeader(header: unknown, text: string, find: (root: unknown) => unknown): Column[] {
  if (!isRow(header)) throw new RowShapeError(`the first row must be the header, an object, and is ${kindOf(header)}`);
  const keys = keysInOrder(text, header, find);
  if (keys.length === 0) throw new RowShapeError("the header row names no column");
  return keys.map((key) => ({ key, title: titleOf(header[key]) }));
}

/** Refuses a first row that is not the header: to drop it would drop a row of data. */
export function checkHeaderRepeats(row: unknown, columns: readonly Column[]): void {
  if (isRow(row) && columns.every(({ key, title }) => Object.hasOwn(row, key) && titleOf(row[key]) === title)) return;
  throw new RowShapeError("its first row is not the header that page 1 has");
}

/**
 * The rows `from` up to `to` as cells in the order of the columns; a key that a row lacks is an empty cell. Refuses a row
 * that has keys, but none of the header's: it would become an empty one.
 */
export function readRows(objects: readonly unknown[], from: number, to: number, columns: readonly Column[]): Row[] {
  const keys = columns.map((column) => column.key);
  // A row that lacks such a key would answer what every object inherits.
  const guarded = keys.some((key) => key in Object.prototype);
  const rows: Row[] = [];
  for (let index = from; index < to; index++) {
    const object = objects[index];
    if (!isRow(object)) throw new RowShapeError(`row ${index} must be an object, and is ${kindOf(object)}`);
    const row: Cell[] = new Array<Cell>(keys.length);
    let known = false;
    for (let column = 0; column < keys.length; column++) {
      const key = keys[column]!;
      const cell = !guarded || Object.hasOwn(object, key) ? (object[key] as Cell) : undefined;
      if (cell !== undefined) known = true;
      row[column] = cell;
    }
    if (!known) refuseUnknown(index, columns, Object.keys(object));
    rows.push(row);
  }
  return rows;
}

/** Refuses a row with a key that the header lacks, where nothing that was sent may be left out. */
export function checkKeys(objects: readonly unknown[], from: number, to: number, columns: readonly Column[]): void {
  const known = new Set(columns.map((column) => column.key));
  for (let index = from; index < to; index++) {
    const object = objects[index];
    if (!isRow(object)) continue;
    const unknown = Object.keys(object).filter((key) => !known.has(key));
    refuseUnknown(index, columns, unknown);
  }
}

function refuseUnknown(index: number, columns: readonly Column[], [key]: string[]): void {
  if (key === undefined) return;
  const names = columns.map((column) => column.key).join(", ");
  throw new RowShapeError(
    `row ${index} has the key ${quoted(key)}, which the header does not have; it has ${quoted(names)}`,
  );
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

function isRow(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function titleOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What a JSON value is, in words for a message. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

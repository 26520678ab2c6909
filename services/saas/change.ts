/** What a write sets: columns named by bitmaps, and their values in ascending order of the columns. With no store in it. */
import { invalidArgument } from "../../lib/errors.ts";
import type { Flag } from "./record.ts";
import { BYTES, FLAGS, UINT32S } from "./record.ts";

/** A uint64 as protobufjs decodes it. */
export type Uint64 = { low: number; high: number } | number;

/** The regions of a WriteItem or a ColumnWrite, decoded. */
export interface Regions {
  write_bytes?: { bytes: Uint8Array; index_1: Uint64; index_2: Uint64 } | null;
  write_uint32s?: { uint32s: number[]; index_1: Uint64 } | null;
  write_flags_with_expire?: { flags_with_expire: Flag[]; index_1: Uint64 } | null;
}

/** Values by their columns. */
export interface Columns<Values> {
  columns: number[];
  values: Values;
}

export interface Change {
  /** Whether the other columns get their defaults. */
  clear: boolean;
  bytes?: Columns<Uint8Array>;
  uint32s?: Columns<readonly number[]>;
  flags?: Columns<readonly Flag[]>;
}

/** Throws INVALID_ARGUMENT where a bit is outside its region, or there are not as many values as bits. */
export function readChange(regions: Regions, clear: boolean): Change {
  const { write_bytes, write_uint32s, write_flags_with_expire } = regions;
  const change: Change = { clear };
  if (write_bytes) {
    const { bytes, index_1, index_2 } = write_bytes;
    const columns = addColumns(addColumns([], index_1, 0), index_2, 64);
    change.bytes = checked("write_bytes", columns, BYTES, bytes);
  }
  if (write_uint32s) {
    const { uint32s, index_1 } = write_uint32s;
    change.uint32s = checked("write_uint32s", addColumns([], index_1, 0), UINT32S, uint32s);
  }
  if (write_flags_with_expire) {
    const { flags_with_expire, index_1 } = write_flags_with_expire;
    change.flags = checked("write_flags_with_expire", addColumns([], index_1, 0), FLAGS, flags_with_expire);
  }
  return change;
}

/** Whether it changes nothing. */
export function isEmpty({ clear, bytes, uint32s, flags }: Change): boolean {
  return !clear && !bytes?.columns.length && !uint32s?.columns.length && !flags?.columns.length;
}

function checked<Values extends { length: number }>(
  field: string,
  columns: number[],
  size: number,
  values: Values,
): Columns<Values> {
  if ((columns.at(-1) ?? 0) >= size) throw invalidArgument(`${field}.index_1`, `names a column beyond ${size - 1}`);
  if (columns.length !== values.length) {
    throw invalidArgument(field, `has ${values.length} values for ${columns.length} columns`);
  }
  return { columns, values };
}

/** Adds the set bits, in ascending order. */
function addColumns(columns: number[], bitmap: Uint64, first: number): number[] {
  const { low, high } = typeof bitmap === "number" ? halves(bitmap) : bitmap;
  addBits(columns, low, first);
  addBits(columns, high, first + 32);
  return columns;
}

function addBits(columns: number[], half: number, first: number): void {
  for (let left = half; left !== 0; left &= left - 1) columns.push(first + 31 - Math.clz32(left & -left));
}

function halves(value: number): { low: number; high: number } {
  return { low: value | 0, high: Math.floor(value / 2 ** 32) };
}

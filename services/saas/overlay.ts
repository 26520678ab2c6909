/**
 * What was written to columns of a whole data space: of each column the last value, and the version of the overlay at which it
 * was set. A record that was brought up to a version takes from it what is later. With no store in it.
 */
import type { Change } from "./change.ts";
import { BYTES, FLAGS, RECORD_BYTES, UINT32S, UserRecord } from "./record.ts";

const COLUMNS = BYTES + UINT32S + FLAGS;
const VERSION_BYTES = 6;
const VERSIONS_AT = VERSION_BYTES;
const VALUES_AT = VERSIONS_AT + VERSION_BYTES * COLUMNS;

export class Overlay {
  readonly version: number;
  /** As it is stored; undefined where it never was. */
  readonly packed: Buffer | undefined;
  /** The version at which all columns were cleared last, 0: never. */
  readonly #cleared: number;
  readonly #versions: readonly number[];
  readonly #values: UserRecord;
  /** The columns that were ever set since. */
  readonly #set: readonly number[];

  /** As it was packed; that of a data space whose columns were never written where nothing is given. */
  constructor(version = 0, packed?: Buffer) {
    this.version = version;
    this.packed = packed;
    this.#cleared = packed?.readUIntLE(0, VERSION_BYTES) ?? 0;
    const versionAt = (_: unknown, column: number) =>
      packed?.readUIntLE(VERSIONS_AT + VERSION_BYTES * column, VERSION_BYTES) ?? 0;
    this.#versions = Array.from({ length: COLUMNS }, versionAt);
    this.#values = new UserRecord(packed && Buffer.from(packed.subarray(VALUES_AT, VALUES_AT + RECORD_BYTES)));
    this.#set = [...this.#versions.keys()].filter((column) => (this.#versions[column] ?? 0) > 0);
  }

  /** The next version, which has the change on top. */
  with(change: Change): Overlay {
    const next = this.version + 1;
    const packed = Buffer.alloc(VALUES_AT + RECORD_BYTES);
    packed.writeUIntLE(change.clear ? next : this.#cleared, 0, VERSION_BYTES);
    const changed = new Set(columnsOf(change));
    for (let column = 0; column < COLUMNS; column += 1) {
      // What was set before a clear is never looked at again.
      const version = changed.has(column) ? next : change.clear ? 0 : (this.#versions[column] ?? 0);
      packed.writeUIntLE(version, VERSIONS_AT + VERSION_BYTES * column, VERSION_BYTES);
    }
    const values = this.#values.copy();
    values.apply(change);
    packed.set(values.packed, VALUES_AT);
    return new Overlay(next, packed);
  }

  /** Brings a record, which it changes, up to this version; does nothing to one that is further. */
  bring(record: UserRecord): void {
    const from = record.overlayVersion;
    if (from >= this.version) return;
    if (from < this.#cleared) record.clear();
    for (const column of this.#set) if ((this.#versions[column] ?? 0) > from) this.#copy(column, record);
    record.overlayVersion = this.version;
  }

  #copy(column: number, record: UserRecord): void {
    const values = this.#values;
    if (column < BYTES) record.setByte(column, values.byte(column));
    else if (column < BYTES + UINT32S) record.setUint32(column - BYTES, values.uint32(column - BYTES));
    else record.setFlag(column - BYTES - UINT32S, values.flag(column - BYTES - UINT32S));
  }
}

function columnsOf({ bytes, uint32s, flags }: Change): number[] {
  return [
    ...(bytes?.columns ?? []),
    ...(uint32s?.columns ?? []).map((column) => BYTES + column),
    ...(flags?.columns ?? []).map((column) => BYTES + UINT32S + column),
  ];
}

/**
 * A user's record, packed: 128 bytes, 16 uint32, 8 flags, when it was written, up to which version of its data space's overlay
 * it was brought, and the last item of a bulk load in it. With no store in it.
 */
import type { Change } from "./change.ts";

export const BYTES = 128;
export const UINT32S = 16;
export const FLAGS = 8;

/** Little endian. The flags are a bit each, their defaults too. */
const FORMAT_AT = 0;
const MODIFIED_AT = 1;
const OVERLAY_AT = 5;
const LOAD_AT = 11;
const POSITION_AT = 17;
const FLAGS_AT = 23;
const DEFAULTS_AT = 24;
const EXPIRE_AT = 25;
const UINT32S_AT = EXPIRE_AT + 4 * FLAGS;
const BYTES_AT = UINT32S_AT + 4 * UINT32S;
export const RECORD_BYTES = BYTES_AT + BYTES;
const FORMAT = 1;

export interface Flag {
  flag: boolean;
  /** What it is once it has expired. */
  default_flag: boolean;
  /** Unix seconds; 0: never. */
  expire: number;
}

/** An item of a bulk load: of two loads the later has the greater number, of two items of one the later position. */
export interface LoadMark {
  load: number;
  position: number;
}

/** A record in the making, or being read: a view of its packed form. */
export class UserRecord {
  readonly packed: Buffer;

  /** Of a user never written where nothing is given. What is given is changed in its place. */
  constructor(packed?: Buffer) {
    this.packed = packed ?? Buffer.alloc(RECORD_BYTES);
    if (!packed) this.packed[FORMAT_AT] = FORMAT;
    if (this.packed.length !== RECORD_BYTES || this.packed[FORMAT_AT] !== FORMAT) {
      throw new Error("a record is stored in a form that is not known");
    }
  }

  /** A copy, that the one here stays as it is. */
  copy(): UserRecord {
    return new UserRecord(Buffer.from(this.packed));
  }

  /** Unix seconds. */
  get modifyTime(): number {
    return this.packed.readUInt32LE(MODIFIED_AT);
  }

  set modifyTime(seconds: number) {
    this.packed.writeUInt32LE(seconds, MODIFIED_AT);
  }

  get overlayVersion(): number {
    return this.packed.readUIntLE(OVERLAY_AT, 6);
  }

  set overlayVersion(version: number) {
    this.packed.writeUIntLE(version, OVERLAY_AT, 6);
  }

  /** Marks that the item is in it; false where it, or a later one, was before. */
  mark({ load, position }: LoadMark): boolean {
    const last = this.packed.readUIntLE(LOAD_AT, 6);
    if (load < last || (load === last && position <= this.packed.readUIntLE(POSITION_AT, 6))) return false;
    this.packed.writeUIntLE(load, LOAD_AT, 6);
    this.packed.writeUIntLE(position, POSITION_AT, 6);
    return true;
  }

  get bytes(): Buffer {
    return this.packed.subarray(BYTES_AT, RECORD_BYTES);
  }

  byte(column: number): number {
    return this.packed[BYTES_AT + column] ?? 0;
  }

  setByte(column: number, value: number): void {
    this.packed[BYTES_AT + column] = value;
  }

  uint32(column: number): number {
    return this.packed.readUInt32LE(UINT32S_AT + 4 * column);
  }

  setUint32(column: number, value: number): void {
    this.packed.writeUInt32LE(value, UINT32S_AT + 4 * column);
  }

  /** As it was written. */
  flag(column: number): Flag {
    const bit = 1 << column;
    return {
      flag: ((this.packed[FLAGS_AT] ?? 0) & bit) !== 0,
      default_flag: ((this.packed[DEFAULTS_AT] ?? 0) & bit) !== 0,
      expire: this.packed.readUInt32LE(EXPIRE_AT + 4 * column),
    };
  }

  /** As it is at that time: past its expiry, its default. */
  flagAt(column: number, nowSeconds: number): Flag {
    const written = this.flag(column);
    const expired = written.expire !== 0 && nowSeconds >= written.expire;
    return expired ? { ...written, flag: written.default_flag } : written;
  }

  setFlag(column: number, { flag, default_flag, expire }: Flag): void {
    this.#setBit(FLAGS_AT, column, flag);
    this.#setBit(DEFAULTS_AT, column, default_flag);
    this.packed.writeUInt32LE(expire, EXPIRE_AT + 4 * column);
  }

  /** Sets all columns to their defaults. */
  clear(): void {
    this.packed.fill(0, FLAGS_AT);
  }

  /** Sets the columns that the change has, others only where it clears. */
  apply({ clear, bytes, uint32s, flags }: Change): void {
    if (clear) this.clear();
    if (bytes) for (const [index, column] of bytes.columns.entries()) this.setByte(column, bytes.values[index] ?? 0);
    if (uint32s) {
      for (const [index, column] of uint32s.columns.entries()) this.setUint32(column, uint32s.values[index] ?? 0);
    }
    if (flags) for (const [index, column] of flags.columns.entries()) this.setFlag(column, flags.values[index]!);
  }

  #setBit(at: number, column: number, value: boolean): void {
    const bit = 1 << column;
    this.packed[at] = value ? (this.packed[at] ?? 0) | bit : (this.packed[at] ?? 0) & ~bit;
  }
}

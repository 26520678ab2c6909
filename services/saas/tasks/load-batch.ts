/** What a load's thread hands to its node: items of some lines, packed, for little is as dear as an object that crosses threads. */
import type { Change } from "../change.ts";
import type { UserChange } from "../record-store.ts";

/** How far a load is: what comes next. */
export interface LoadPlace {
  /** Of the task's files, from 0. */
  file: number;
  /** Of the file's blocks, from 0. */
  block: number;
  /** Of the block, unpacked, in bytes. */
  offset: number;
  /** Lines of the file before it. */
  line: number;
  /** Lines of all files before it. */
  position: number;
}

export interface BadLine {
  file: string;
  /** From 1. */
  line: number;
  reason: string;
}

export interface LoadBatch {
  userids: string[];
  /** What each user's item changes; see BatchPacker. */
  packed: Uint8Array<ArrayBuffer>;
  /** Lines that held no item; of more than a report has room for only the first are told. */
  badLines: BadLine[];
  bad: number;
  /** What comes after the batch. */
  end: LoadPlace;
}

/** The most that an item takes: its line, counts, columns and values of each region. */
const ITEM_BYTES = 4 + 3 + 2 * 128 + 5 * 16 + 6 * 8;
const START_BYTES = 64 * 1024;

/** Items as bytes, little endian: the line's distance from the first, and of each region how many columns, which, and their values. */
export class BatchPacker {
  readonly userids: string[] = [];
  #bytes = Buffer.from(new ArrayBuffer(START_BYTES));
  #length = 0;

  get byteLength(): number {
    return this.#length;
  }

  /** `distance` is that of the item's line from the first of the batch. */
  add(userid: string, { bytes, uint32s, flags }: Change, distance: number): void {
    this.#makeRoom();
    const to = this.#bytes;
    let at = to.writeUInt32LE(distance, this.#length);
    to[at++] = bytes?.columns.length ?? 0;
    for (const column of bytes?.columns ?? []) to[at++] = column;
    for (const value of bytes?.values ?? []) to[at++] = value;
    to[at++] = uint32s?.columns.length ?? 0;
    for (const column of uint32s?.columns ?? []) to[at++] = column;
    for (const value of uint32s?.values ?? []) at = to.writeUInt32LE(value, at);
    to[at++] = flags?.columns.length ?? 0;
    for (const column of flags?.columns ?? []) to[at++] = column;
    for (const { flag, default_flag, expire } of flags?.values ?? []) {
      to[at++] = (flag ? 1 : 0) | (default_flag ? 2 : 0);
      at = to.writeUInt32LE(expire, at);
    }
    this.#length = at;
    this.userids.push(userid);
  }

  /** Of all that was added; not to be added to any more. */
  packed(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes.buffer, 0, this.#length);
  }

  #makeRoom(): void {
    if (this.#length + ITEM_BYTES <= this.#bytes.length) return;
    const larger = Buffer.from(new ArrayBuffer(2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** The items of a batch in their order, marked as those of that load; `first` is the position of the batch's first line. */
export function unpackBatch({ userids, packed }: LoadBatch, load: number, first: number): UserChange[] {
  const from = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  let at = 0;
  const columns = (): number[] => {
    const count = from[at++]!;
    const found = new Array<number>(count);
    for (let index = 0; index < count; index += 1) found[index] = from[at++]!;
    return found;
  };
  const uint32 = (): number => {
    const value = from.readUInt32LE(at);
    at += 4;
    return value;
  };
  return userids.map((userid): UserChange => {
    const mark = { load, position: first + uint32() };
    const change: Change = { clear: false };
    const byteColumns = columns();
    if (byteColumns.length > 0) {
      change.bytes = { columns: byteColumns, values: from.subarray(at, at + byteColumns.length) };
      at += byteColumns.length;
    }
    const uint32Columns = columns();
    if (uint32Columns.length > 0) change.uint32s = { columns: uint32Columns, values: uint32Columns.map(uint32) };
    const flagColumns = columns();
    if (flagColumns.length > 0) {
      const values = flagColumns.map(() => {
        const bits = from[at++]!;
        return { flag: (bits & 1) !== 0, default_flag: (bits & 2) !== 0, expire: uint32() };
      });
      change.flags = { columns: flagColumns, values };
    }
    return { userid, change, mark };
  });
}

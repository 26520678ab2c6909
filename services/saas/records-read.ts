/**
 * The records that a read found, as an answer. As protobuf they are written without a message between, which took a third of
 * a read's time; the protobuf wire format: https://protobuf.dev/programming-guides/encoding/
 */
import type { Flag, UserRecord } from "./record.ts";
import { BYTES, FLAGS, UINT32S } from "./record.ts";

interface ValueItem {
  cmd_index: number;
  bytes: Uint8Array;
  uint32s: number[];
  flags_with_expire: Flag[];
  last_modify_time: number;
}

/** An item takes at most that much: 128 bytes, 16 varints of 5 bytes, 8 flags of 12, two more varints, and the tags. */
const ITEM_BYTES = 384;
/** What may stand before the items, all of it varints. */
const HEAD_BYTES = 32;

const VARINT = 0;
const LENGTH = 2;

export class RecordsRead {
  readonly #records: readonly UserRecord[];
  readonly #nowSeconds: number;

  constructor(records: readonly UserRecord[], nowSeconds: number) {
    this.#records = records;
    this.#nowSeconds = nowSeconds;
  }

  /** As a SaasRes. */
  toMessage(): Record<string, unknown> {
    const cmd_res = this.#records.map((record, index): ValueItem => this.#item(record, index));
    return { read_res: { succ_cmd_count: cmd_res.length, fail_cmd_count: 0, cmd_res } };
  }

  /** As the bytes of that. */
  encode(): Buffer {
    const bytes = Buffer.allocUnsafe(2 * HEAD_BYTES + ITEM_BYTES * this.#records.length);
    let at = HEAD_BYTES;
    at = varintField(bytes, at, 1, this.#records.length);
    for (const [index, record] of this.#records.entries()) at = this.#encodeItem(bytes, at, record, index);
    const head = Buffer.allocUnsafe(HEAD_BYTES);
    const length = varint(head, varint(head, 0, tag(10, LENGTH)), at - HEAD_BYTES);
    const start = HEAD_BYTES - length;
    head.copy(bytes, start, 0, length);
    return bytes.subarray(start, at);
  }

  #item(record: UserRecord, index: number): ValueItem {
    return {
      cmd_index: index,
      bytes: record.bytes,
      uint32s: Array.from({ length: UINT32S }, (_, column) => record.uint32(column)),
      flags_with_expire: Array.from({ length: FLAGS }, (_, column) => record.flagAt(column, this.#nowSeconds)),
      last_modify_time: record.modifyTime,
    };
  }

  /** Its bytes alone make it longer than a length of one byte says, and it is never longer than one of two says. */
  #encodeItem(bytes: Buffer, from: number, record: UserRecord, index: number): number {
    const start = varint(bytes, from, tag(3, LENGTH)) + 2;
    let at = varintField(bytes, start, 1, index);
    at = varint(bytes, varint(bytes, at, tag(3, LENGTH)), BYTES);
    bytes.set(record.bytes, at);
    at = encodeUint32s(bytes, at + BYTES, record);
    for (let column = 0; column < FLAGS; column += 1) {
      at = encodeFlag(bytes, at, record.flagAt(column, this.#nowSeconds));
    }
    at = varintField(bytes, at, 6, record.modifyTime);
    varint(bytes, start - 2, at - start);
    return at;
  }
}

function encodeUint32s(bytes: Buffer, from: number, record: UserRecord): number {
  const start = varint(bytes, from, tag(4, LENGTH)) + 1;
  let at = start;
  for (let column = 0; column < UINT32S; column += 1) at = varint(bytes, at, record.uint32(column));
  bytes[start - 1] = at - start;
  return at;
}

function encodeFlag(bytes: Buffer, from: number, { flag, default_flag, expire }: Flag): number {
  const start = varint(bytes, from, tag(5, LENGTH)) + 1;
  let at = varintField(bytes, start, 1, flag ? 1 : 0);
  at = varintField(bytes, at, 2, default_flag ? 1 : 0);
  at = varintField(bytes, at, 3, expire);
  bytes[start - 1] = at - start;
  return at;
}

function tag(field: number, type: number): number {
  return field * 8 + type;
}

/** Left out where it is 0. */
function varintField(bytes: Buffer, at: number, field: number, value: number): number {
  return value === 0 ? at : varint(bytes, varint(bytes, at, tag(field, VARINT)), value);
}

/** Answers what is behind it. */
function varint(bytes: Buffer, from: number, value: number): number {
  let at = from;
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) {
    bytes[at] = (left % 128) | 0x80;
    at += 1;
  }
  bytes[at] = left;
  return at + 1;
}

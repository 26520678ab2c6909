import { decodeHuffman } from "./huffman.ts";
import { ConnectionError, ErrorCode } from "./protocol.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** A header field, an octet a character. One that the table holds is the same object in every request. */
export class Field {
  readonly name: string;
  readonly value: string;
  /** Whether it is one that a request may have; unset until somebody has looked. */
  valid: boolean | undefined;

  constructor(name: string, value: string) {
    this.name = name;
    this.value = value;
  }

  /** What it counts in a table and in a list. */
  get size(): number {
    return this.name.length + this.value.length + FIELD_OVERHEAD;
  }
}

const FIELD_OVERHEAD = 32;
/** The size of a table that nobody has said anything of; we do not, so it is also the largest. */
const TABLE_BYTES = 4_096;
/** No number of a header block is larger: it is an index, the length of a string, or the size of a table. */
const LARGEST_NUMBER = 2 ** 24;

/** How many bits of a representation's first byte belong to its number. */
const NumberBits = { INDEXED: 7, WITH_INDEXING: 6, SIZE_UPDATE: 5, WITHOUT_INDEXING: 4, STRING: 7 } as const;

const STATIC = STATIC_TABLE.map(([name, value]) => new Field(name, value));

/** Reads the header blocks of one connection (HPACK, RFC 7541), whose table each of them may change. */
export class HeaderDecoder {
  readonly #maxListBytes: number;
  /** Oldest first, for the newest has the lowest index. */
  readonly #table: Field[] = [];
  #tableBytes = 0;
  #tableLimit = TABLE_BYTES;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #tableChanged = false;
  /** The last block's fields, where decoding it again would give them again: no block since has changed the table. */
  #repeatable: { block: Buffer; fields: Field[] } | undefined;

  constructor(maxListBytes: number) {
    this.#maxListBytes = maxListBytes;
  }

  /**
   * The fields of a block; `undefined` where they are more than may be. A malformed block is a ConnectionError. A client
   * sends the same block with each call of a method, but for the first: the answer is the same object then.
   */
  decode(block: Buffer): Field[] | undefined {
    if (this.#repeatable?.block.equals(block)) return this.#repeatable.fields;
    this.#block = block;
    this.#at = 0;
    this.#tableChanged = false;
    const fields: Field[] = [];
    let bytes = 0;
    while (this.#at < block.length) {
      const field = this.#representation(bytes === 0);
      if (!field) continue;
      bytes += field.size;
      // It reads on, for the table must stay what the peer takes it to be.
      if (bytes <= this.#maxListBytes) fields.push(field);
    }
    if (this.#tableChanged) this.#repeatable = undefined;
    if (bytes > this.#maxListBytes) return undefined;
    if (!this.#tableChanged) this.#repeatable = { block: Buffer.from(block), fields };
    return fields;
  }

  /** The next field, or none where the table's size changes, which may be before all fields. */
  #representation(first: boolean): Field | undefined {
    const byte = this.#block[this.#at]!;
    if (byte & 0x80) return this.#indexed(this.#number(NumberBits.INDEXED));
    if (byte & 0x40) {
      const field = this.#literal(NumberBits.WITH_INDEXING);
      this.#add(field);
      return field;
    }
    if (!(byte & 0x20)) return this.#literal(NumberBits.WITHOUT_INDEXING);
    if (!first) throw malformed("the table's size changes among the fields");
    this.#resize(this.#number(NumberBits.SIZE_UPDATE));
    return undefined;
  }

  #literal(bits: number): Field {
    const index = this.#number(bits);
    const name = index === 0 ? this.#string() : this.#indexed(index).name;
    return new Field(name, this.#string());
  }

  #indexed(index: number): Field {
    const field = index <= STATIC.length ? STATIC[index - 1] : this.#table.at(STATIC.length - index);
    if (!field) throw malformed(`no field has the index ${index}`);
    return field;
  }

  #add(field: Field): void {
    this.#table.push(field);
    this.#tableBytes += field.size;
    this.#evict();
  }

  #resize(limit: number): void {
    if (limit > TABLE_BYTES) throw malformed(`a table of ${limit} bytes`);
    this.#tableLimit = limit;
    this.#evict();
  }

  #evict(): void {
    this.#tableChanged = true;
    while (this.#tableBytes > this.#tableLimit) this.#tableBytes -= this.#table.shift()!.size;
  }

  #number(bits: number): number {
    const mask = (1 << bits) - 1;
    const first = this.#next() & mask;
    if (first < mask) return first;
    let number = mask;
    for (let scale = 1; scale <= LARGEST_NUMBER; scale *= 0x80) {
      const byte = this.#next();
      number += (byte & 0x7f) * scale;
      if (!(byte & 0x80) && number <= LARGEST_NUMBER) return number;
    }
    throw malformed("a number is too large");
  }

  #string(): string {
    const coded = (this.#block[this.#at] ?? 0) & 0x80;
    const length = this.#number(NumberBits.STRING);
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#block.length) throw malformed("a string is cut off");
    const text = coded ? decodeHuffman(this.#block, start, this.#at) : this.#block.toString("latin1", start, this.#at);
    if (text === undefined) throw malformed("a string is not in Huffman code");
    return text;
  }

  #next(): number {
    const byte = this.#block[this.#at++];
    if (byte === undefined) throw malformed("a field is cut off");
    return byte;
  }
}

function malformed(message: string): ConnectionError {
  return new ConnectionError(ErrorCode.COMPRESSION_ERROR, `header block: ${message}`);
}

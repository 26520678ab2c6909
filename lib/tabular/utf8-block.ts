/** A block of about so many bytes is handed on: large enough for the cost of that to vanish, small for memory. */
const BLOCK_BYTES = 256 * 1024;
/** Room for the row that a block ends with; a longer one moves the block to a larger place. */
const ROOM = BLOCK_BYTES + 32 * 1024;

/** Above this a native call, which costs about as much as 30 turns of the loop, is the faster way to copy. */
const LONG = 48;

/** Characters by their ASCII code that `plain` may not write; those beyond ASCII that XML or UTF-8 lack never may be. */
export type SpecialCharacters = Uint8Array;

export function specialCharacters(characters: string): SpecialCharacters {
  const special = new Uint8Array(128);
  for (let index = 0; index < characters.length; index++) special[characters.charCodeAt(index)] = 1;
  return special;
}

/** Places that can be written again, and all that were made for that: nobody else's memory may get here. */
const free: Buffer[] = [];
const made = new WeakSet<ArrayBufferLike>();
const MOST_FREE = 4;

/** Memory of such blocks is not on V8's heap, and so its collector is in no hurry: without this 60 MB of it may lie about. */
function newPlace(): Buffer {
  const place = free.pop();
  if (place) return place;
  const fresh = Buffer.allocUnsafeSlow(ROOM);
  made.add(fresh.buffer);
  return fresh;
}

/** Takes back a block, whose bytes nobody will look at any more; of other bytes it lets go. */
export function giveBack({ buffer }: Uint8Array): void {
  if (free.length < MOST_FREE && made.has(buffer)) free.push(Buffer.from(buffer));
}

/**
 * Text in the making, as UTF-8 from the start: joining strings and encoding them in the end takes twice to four times as
 * long (docs/decisions/tabular-writers.md).
 */
export class Utf8Block {
  #bytes = newPlace();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Whether it should be taken, now that a row is complete. */
  get isFull(): boolean {
    return this.#length >= BLOCK_BYTES;
  }

  /** What was written since the last time. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytes = newPlace();
    this.#length = 0;
    return taken;
  }

  /** Takes back what was written after the first `length` bytes. */
  cut(length: number): void {
    this.#length = length;
  }

  byte(code: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = code;
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Any text; what UTF-8 lacks (half a surrogate pair) becomes U+FFFD. */
  text(text: string): void {
    this.#reserve(text.length * 3);
    this.#length += this.#bytes.write(text, this.#length, "utf8");
  }

  /**
   * Writes a text, between `quote`s where one is given, unless that is long or holds a special character: then nothing, and
   * answers false.
   */
  plain(text: string, special: SpecialCharacters, quote?: number): boolean {
    const count = text.length;
    if (count > LONG) return false;
    this.#reserve(count * 3 + 2);
    const bytes = this.#bytes;
    let at = this.#length;
    if (quote !== undefined) bytes[at++] = quote;
    for (let index = 0; index < count; index++) {
      const code = text.charCodeAt(index);
      if (code < 0x80) {
        if (special[code] === 1) return false;
        bytes[at++] = code;
      } else if (code < 0x800) {
        bytes[at++] = 0xc0 | (code >> 6);
        bytes[at++] = 0x80 | (code & 0x3f);
      } else {
        // Surrogates, pairs too, and what XML lacks: they are few, and `text` knows what to do.
        if ((code & 0xf800) === 0xd800 || code >= 0xfffe) return false;
        bytes[at++] = 0xe0 | (code >> 12);
        bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
        bytes[at++] = 0x80 | (code & 0x3f);
      }
    }
    if (quote !== undefined) bytes[at++] = quote;
    this.#length = at;
    return true;
  }

  /** A number as JavaScript's String has it. */
  number(value: number): void {
    if (!this.shortNumber(value)) this.text(String(value));
  }

  /**
   * Writes a number of up to ten digits, at most four of them decimals, as String would; another one not, and answers
   * false. Where `value` is the double next to k/10,000, no other decimal of so few digits is nearest to it, so k has the
   * digits that String finds.
   */
  shortNumber(value: number): boolean {
    if ((value | 0) === value) {
      this.#reserve(11);
      this.#integer(value < 0 ? this.#minus(value) : value);
      return true;
    }
    const scaled = Math.round(value * 1e4);
    if (scaled / 1e4 !== value || Math.abs(scaled) > 0x7fffffff) return false;
    this.#reserve(12);
    const digits = scaled < 0 ? this.#minus(scaled) : scaled;
    const whole = Math.trunc(digits / 1e4);
    this.#integer(whole);
    this.#decimals(digits - whole * 1e4);
    return true;
  }

  #minus(value: number): number {
    this.#bytes[this.#length++] = 0x2d;
    return -value;
  }

  #integer(value: number): void {
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    const bytes = this.#bytes;
    let rest = value;
    let at = this.#length + digits;
    this.#length = at;
    do {
      const tenth = Math.trunc(rest / 10);
      bytes[--at] = 0x30 + rest - tenth * 10;
      rest = tenth;
    } while (rest > 0);
  }

  /** Four decimals, which are not all 0, without the 0s at their end. */
  #decimals(fraction: number): void {
    const bytes = this.#bytes;
    let rest = fraction;
    bytes[this.#length++] = 0x2e;
    for (let power = 1_000; rest > 0; power /= 10) {
      const digit = Math.trunc(rest / power);
      bytes[this.#length++] = 0x30 + digit;
      rest -= digit * power;
    }
  }

  #reserve(count: number): void {
    if (this.#bytes.length - this.#length < count) this.#grow(count);
  }

  #grow(count: number): void {
    const larger = Buffer.allocUnsafeSlow((this.#length + count) * 2);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

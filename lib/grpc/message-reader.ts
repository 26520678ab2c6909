import type { Status } from "./status.ts";
import { Code } from "./status.ts";

/** A message as it came. Its bytes are good until more are added. */
export interface RawMessage {
  bytes: Buffer;
  compressed: boolean;
}

/** What all calls of a server together may keep of requests that nobody has taken yet. */
export interface Budget {
  /** In bytes. */
  left: number;
}

const PREFIX_BYTES = 5;
const EMPTY = Buffer.alloc(0);

/**
 * The messages in what comes in on a stream: a byte that says whether it is compressed, the length, the message. They stay
 * bytes until somebody takes them: thousands may be in a few kilobytes.
 */
export class MessageReader {
  /** Why there is no further message: one that is not as it must be. */
  refusal: Status | undefined;
  readonly #maxBytes: number;
  readonly #budget: Budget;
  /** Of the budget. */
  #held = 0;
  #buffer: Buffer = EMPTY;
  /** What of the buffer is not taken yet. */
  #start = 0;
  #end = 0;
  /** The buffer is ours, and holds nothing else. */
  #own = false;

  constructor(maxBytes: number, budget: Budget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Nothing is left, also of no message that has come in a part. */
  get isEmpty(): boolean {
    return this.#start === this.#end;
  }

  /** `keep` must follow before these bytes belong to somebody else again. */
  add(bytes: Buffer): void {
    if (this.refusal) return;
    if (this.isEmpty) {
      this.release();
      this.#buffer = bytes;
      this.#end = bytes.length;
      return;
    }
    const fits = this.#own && this.#end + bytes.length <= this.#buffer.length;
    if (!fits && !this.#move(bytes.length)) return;
    bytes.copy(this.#buffer, this.#end);
    this.#end += bytes.length;
  }

  /** The next message, once it is whole. */
  next(): RawMessage | undefined {
    const length = this.#nextLength();
    if (length === undefined || this.#end - this.#start < PREFIX_BYTES + length) return undefined;
    const flag = this.#buffer[this.#start]!;
    const from = this.#start + PREFIX_BYTES;
    this.#start = from + length;
    return { bytes: this.#buffer.subarray(from, this.#start), compressed: flag === 1 };
  }

  /** Puts what is left where it does not keep all that came with it. */
  keep(): void {
    if (this.isEmpty) this.release();
    else if (!this.#own) this.#move(0);
  }

  /** Lets go of what has not been taken. */
  release(): void {
    this.#budget.left += this.#held;
    this.#held = 0;
    this.#buffer = EMPTY;
    this.#start = 0;
    this.#end = 0;
    this.#own = false;
  }

  /** What the next message says of itself; undefined where that has not come, or is refused. */
  #nextLength(): number | undefined {
    if (this.refusal || this.#end - this.#start < PREFIX_BYTES) return undefined;
    const flag = this.#buffer[this.#start]!;
    const length = this.#buffer.readUInt32BE(this.#start + 1);
    if (flag > 1) this.refusal = { code: Code.INTERNAL, details: `a message begins with the byte ${flag}` };
    else if (length > this.#maxBytes) this.refusal = tooLarge(length, this.#maxBytes);
    return this.refusal ? undefined : length;
  }

  /**
   * Into a buffer of its own; false where the budget has none left. That doubles, up to the message: a length that a peer only
   * says takes no memory.
   */
  #move(more: number): boolean {
    const left = this.#end - this.#start;
    const needed = PREFIX_BYTES + (this.#nextLength() ?? 0);
    const total = left + more;
    const size = Math.max(total, Math.min(needed, 2 * total));
    if (this.#budget.left + this.#held < size) {
      this.release();
      this.refusal = { code: Code.RESOURCE_EXHAUSTED, details: "too many unfinished requests, try again later" };
      return false;
    }
    const grown = Buffer.allocUnsafeSlow(size);
    this.#buffer.copy(grown, 0, this.#start, this.#end);
    this.#budget.left += this.#held - size;
    this.#held = size;
    this.#buffer = grown;
    this.#start = 0;
    this.#end = left;
    this.#own = true;
    return true;
  }
}

export function tooLarge(bytes: number, limit: number): Status {
  return { code: Code.RESOURCE_EXHAUSTED, details: `a message of ${bytes} bytes, at most ${limit} are taken` };
}

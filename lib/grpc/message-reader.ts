import { Code } from "./status.ts";
import type { Status } from "./status.ts";

/** A message as it came, its bytes perhaps those of a larger piece. */
export interface RawMessage {
  bytes: Buffer;
  compressed: boolean;
}

const PREFIX_BYTES = 5;
const EMPTY = Buffer.alloc(0);

/** Finds the messages in what comes in on a stream: a byte that says whether it is compressed, the length, the message. */
export class MessageReader {
  readonly #maxBytes: number;
  /** What has come in of a message that is not whole, on its own: it must not keep what came with it. */
  #kept: Buffer = EMPTY;
  #keptBytes = 0;
  /** Of that message, its prefix included; of the prefix where that is not whole. */
  #needed = PREFIX_BYTES;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a message has come in a part. */
  get isInside(): boolean {
    return this.#keptBytes > 0;
  }

  /** Gives the messages that are whole with these bytes to `take`; a Status where one is not as it must be. */
  read(bytes: Buffer, take: (message: RawMessage) => void): Status | undefined {
    let rest = bytes;
    if (this.#keptBytes > 0) {
      this.#keep(rest);
      if (this.#keptBytes < this.#needed) return undefined;
      rest = this.#kept.subarray(0, this.#keptBytes);
      this.#kept = EMPTY;
      this.#keptBytes = 0;
    }
    while (rest.length >= PREFIX_BYTES) {
      const length = rest.readUInt32BE(1);
      if (rest[0]! > 1) return { code: Code.INTERNAL, details: `a message begins with the byte ${rest[0]}` };
      if (length > this.#maxBytes) return tooLarge(length, this.#maxBytes);
      this.#needed = PREFIX_BYTES + length;
      if (rest.length < this.#needed) break;
      take({ bytes: rest.subarray(PREFIX_BYTES, this.#needed), compressed: rest[0] === 1 });
      rest = rest.subarray(this.#needed);
      this.#needed = PREFIX_BYTES;
    }
    if (rest.length > 0) this.#keep(rest);
    return undefined;
  }

  /** What is kept at once doubles, up to the message: a length that a peer only says takes no memory. */
  #keep(bytes: Buffer): void {
    const total = this.#keptBytes + bytes.length;
    if (total > this.#kept.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(total, Math.min(this.#needed, 2 * total)));
      this.#kept.copy(grown, 0, 0, this.#keptBytes);
      this.#kept = grown;
    }
    bytes.copy(this.#kept, this.#keptBytes);
    this.#keptBytes = total;
  }
}

export function tooLarge(bytes: number, limit: number): Status {
  return { code: Code.RESOURCE_EXHAUSTED, details: `a message of ${bytes} bytes, at most ${limit} are taken` };
}

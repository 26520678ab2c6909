/** Lines of a file as it comes in chunks. A line that is too long is not held, only told of. */

/** Given a line without its end, undefined for one that is too long, and where in the chunk the next one begins. */
export type OnLine = (line: string | undefined, next: number) => void;

const LF = 0x0a;

export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  /** Of the line that has begun. */
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Tells of the lines that end in the chunk. */
  push(chunk: Buffer, onLine: OnLine): void {
    let from = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, from)) {
      if (this.#length > 0) {
        this.#begin(chunk.subarray(from, end));
        onLine(this.#take(), end + 1);
      } else if (end - from > this.#maxBytes) onLine(undefined, end + 1);
      else onLine(chunk.toString("utf8", from, end), end + 1);
      from = end + 1;
    }
    // The chunk may be used again for the next one.
    if (from < chunk.length) this.#begin(chunk.subarray(from));
  }

  /** Tells of the line that the file ends with, where it has begun. */
  end(onLine: OnLine): void {
    if (this.#length > 0) onLine(this.#take(), 0);
  }

  #begin(part: Buffer): void {
    this.#length += part.length;
    if (this.#length > this.#maxBytes) this.#parts = [];
    else this.#parts.push(Buffer.from(part));
  }

  #take(): string | undefined {
    const line = this.#length > this.#maxBytes ? undefined : Buffer.concat(this.#parts).toString();
    this.#parts = [];
    this.#length = 0;
    return line;
  }
}

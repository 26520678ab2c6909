import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { failedPrecondition, LongshoreError } from "../errors.ts";

/** What is handed on at once, so that the reader can be stopped in between. */
const PIECE_BYTES = 64 * 1024;

/** The bytes of an uploaded file, unpacked where they are gzip, in pieces of at most 64 KiB; counts those that came. */
export class FileBytes {
  readonly #content: AsyncIterable<Uint8Array>;
  readonly #maxUnpackedBytes: number;
  readonly #signal: AbortSignal;
  /** As they came. */
  count = 0;

  constructor(content: AsyncIterable<Uint8Array>, maxUnpackedBytes: number, signal: AbortSignal) {
    this.#content = content;
    this.#maxUnpackedBytes = maxUnpackedBytes;
    this.#signal = signal;
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    let unpacked = 0;
    for await (const bytes of this.#unpacked()) {
      unpacked += bytes.byteLength;
      if (unpacked > this.#maxUnpackedBytes) {
        throw new LongshoreError(
          "RESOURCE_EXHAUSTED",
          `the file has more than ${this.#maxUnpackedBytes} bytes, unpacked`,
        );
      }
      for (let from = 0; from < bytes.byteLength; from += PIECE_BYTES) {
        this.#signal.throwIfAborted();
        yield bytes.subarray(from, from + PIECE_BYTES);
      }
    }
  }

  async *#unpacked(): AsyncGenerator<Uint8Array> {
    const came = this.#counted();
    const head = await readHead(came);
    const all = concatenated(head, came);
    if (head[0] !== 0x1f || head[1] !== 0x8b) {
      yield* all;
      return;
    }
    const source = Readable.from(all);
    const gunzip = source.pipe(createGunzip());
    source.once("error", (error) => gunzip.destroy(error));
    try {
      yield* gunzip as AsyncIterable<Uint8Array>;
    } catch (error) {
      const { code = "", message } = error as NodeJS.ErrnoException;
      if (code.startsWith("Z_")) throw failedPrecondition(`the file cannot be unpacked: ${message}`);
      throw error;
    } finally {
      source.destroy();
    }
  }

  async *#counted(): AsyncGenerator<Uint8Array> {
    for await (const bytes of this.#content) {
      this.#signal.throwIfAborted();
      this.count += bytes.byteLength;
      yield bytes;
    }
  }
}

/** At least two bytes, where there are so many. */
async function readHead(bytes: AsyncGenerator<Uint8Array>): Promise<Uint8Array> {
  let head: Uint8Array = new Uint8Array();
  while (head.byteLength < 2) {
    const { value, done } = await bytes.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  return head;
}

async function* concatenated(head: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (head.byteLength > 0) yield head;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

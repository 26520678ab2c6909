import { promisify } from "node:util";
import { constants, deflateRaw, deflateRawSync } from "node:zlib";
import { giveBack } from "./utf8-block.ts";

const deflateBlock = promisify<Uint8Array, object, Buffer>(deflateRaw);

/** One less than libuv's pool has threads: files and name look-ups must not wait behind deflate. */
const POOL = Number(process.env["UV_THREADPOOL_SIZE"] || 4) - 1;

/** Tables that the process writes now, in whatever thread. */
let writers = new Int32Array(new SharedArrayBuffer(4));

/** Says where the process counts its writers; each takes its part of the pool. */
export function shareWriters(shared: Int32Array<SharedArrayBuffer>): void {
  writers = shared;
}

/** What this writer may have in the pool at once; 0: as many write that each had better deflate in its own thread. */
function inPool(): number {
  return Math.floor(POOL / Math.max(1, Atomics.load(writers, 0)));
}

/** An empty last block: it ends a deflate stream whose blocks were flushed to whole bytes. */
const END = Uint8Array.of(0x03, 0x00);

/**
 * Deflates each chunk by itself in libuv's pool, several at once, and joins them to one raw stream, as pigz does; so
 * the caller makes chunk k+1 while chunk k deflates. Chunks should be large, some 256 KB: nothing is shared between them.
 */
export async function* deflateInParallel(
  content: AsyncIterable<Uint8Array>,
  level: number,
): AsyncGenerator<Uint8Array> {
  const inFlight: Promise<Buffer>[] = [];
  for await (const chunk of content) {
    const options = { level, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: outputSize(chunk.byteLength) };
    const most = inPool();
    while (inFlight.length > 0 && inFlight.length >= most) yield await inFlight.shift()!;
    if (most === 0) {
      const deflated = deflateRawSync(chunk, options);
      giveBack(chunk);
      yield deflated;
      continue;
    }
    const deflated = deflateBlock(chunk, options).finally(() => giveBack(chunk));
    // Awaited below; should the caller leave before, a failure must not end the process.
    deflated.catch(() => {});
    inFlight.push(deflated);
  }
  for (const deflated of inFlight) yield await deflated;
  yield END;
}

/** Room for what a table usually deflates to: each time it is full costs one more way to the pool and back. */
function outputSize(inputSize: number): number {
  return Math.max(4096, Math.ceil(inputSize / 4));
}

const MAX_STORED = 0xffff;

/**
 * Wraps content into deflate's stored blocks, for what is compressed already: unlike zip's method 0 a reader that
 * cannot seek finds the end.
 */
export async function* storeInBlocks(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < chunk.byteLength; at += MAX_STORED) {
      const block = chunk.subarray(at, at + MAX_STORED);
      const length = block.byteLength;
      parts.push(Uint8Array.of(0, length & 0xff, length >> 8, ~length & 0xff, (~length >> 8) & 0xff), block);
    }
    yield Buffer.concat(parts);
  }
  yield END;
}

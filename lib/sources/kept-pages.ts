import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import type { ObjectStore } from "../objects/object-store.ts";

/** Of pages as they came; so many are put away at once. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** A page may be larger than a segment. */
const MAX_UNPACKED = 256 * 1024 * 1024;

const compress = promisify<Uint8Array, object, Buffer>(zstdCompress);
const decompress = promisify<Uint8Array, object, Buffer>(zstdDecompress);
const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

export interface KeepOptions {
  /** What the keys of the objects begin with; the crawl's own. */
  prefix: string;
  /** When it begins to keep pages, and how long they wait to be put away, in milliseconds. */
  everyMs: number;
  signal: AbortSignal;
}

/** Consecutive pages in one object: each as its length, 32 bits little-endian, and its bytes, all compressed with zstd. */
interface Segment {
  key: string;
  first: number;
  last: number;
}

/**
 * The pages that a crawl has read, kept as they came, so that whoever takes it over asks the source only for the others.
 * A crawl that is soon over keeps nothing: to read it again costs less. What cannot be kept or found is fetched.
 */
export class KeptPages {
  readonly #store: ObjectStore;
  readonly #prefix: string;
  readonly #everyMs: number;
  readonly #signal: AbortSignal;
  /** What earlier crawls kept, from the page on that was asked for last. */
  #segments: Segment[];
  #open: { segment: Segment; pages: Promise<Buffer[]> } | undefined;
  /** Pages that were found, and so need not be kept again. */
  readonly #found = new Set<number>();
  readonly #begun = performance.now();
  /** Those that wait to be put away. */
  #waiting: { first: number; since: number; bytes: number; pages: Buffer[] } | undefined;
  #putting: Promise<void> | undefined;
  #failed = false;

  private constructor(store: ObjectStore, options: KeepOptions, segments: Segment[]) {
    this.#store = store;
    this.#prefix = options.prefix;
    this.#everyMs = options.everyMs;
    this.#signal = options.signal;
    this.#segments = segments;
  }

  static async open(store: ObjectStore, options: KeepOptions): Promise<KeptPages> {
    const segments: Segment[] = [];
    for await (const { key } of store.list(options.prefix)) {
      const [, first, last] = /^(\d+)-(\d+)$/.exec(key.slice(options.prefix.length)) ?? [];
      if (first && last) segments.push({ key, first: Number(first), last: Number(last) });
    }
    segments.sort((left, right) => left.first - right.first);
    return new KeptPages(store, options, segments);
  }

  /** Removes all that was kept. */
  static async remove(store: ObjectStore, prefix: string): Promise<void> {
    for await (const { key } of store.list(prefix)) await store.delete(key);
  }

  /** A page that is kept; undefined where it is not. They are asked for in their order. */
  async find(page: number): Promise<Buffer | undefined> {
    while (this.#segments[0] && this.#segments[0].last < page) this.#segments.shift();
    const segment = this.#segments[0];
    if (!segment || segment.first > page) return undefined;
    if (this.#open?.segment !== segment) this.#open = { segment, pages: this.#read(segment) };
    const body = (await this.#open.pages)[page - segment.first];
    if (body) this.#found.add(page);
    return body;
  }

  /** Takes note of a page that was read; they come in their order. */
  async add(page: number, body: Buffer): Promise<void> {
    if (this.#found.delete(page)) return this.#putAway();
    const now = performance.now();
    if (this.#failed || now - this.#begun < this.#everyMs) return;
    this.#waiting ??= { first: page, since: now, bytes: 0, pages: [] };
    this.#waiting.pages.push(body);
    this.#waiting.bytes += body.byteLength;
    if (this.#waiting.bytes >= SEGMENT_BYTES || now - this.#waiting.since >= this.#everyMs) await this.#putAway();
  }

  /** Resolves when nothing is being written any more. */
  async close(): Promise<void> {
    await this.#putting;
  }

  /** Reading goes on while an object is written, but not while a second one would be. */
  async #putAway(): Promise<void> {
    const waiting = this.#waiting;
    if (!waiting) return;
    this.#waiting = undefined;
    await this.#putting;
    const last = waiting.first + waiting.pages.length - 1;
    this.#putting = this.#write(`${this.#prefix}${waiting.first}-${last}`, waiting.pages);
  }

  async #write(key: string, pages: readonly Buffer[]): Promise<void> {
    const lengths = pages.map((body) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(body.byteLength);
      return length;
    });
    try {
      const packed = await compress(Buffer.concat(pages.flatMap((body, index) => [lengths[index]!, body])), FAST);
      await this.#store.put(key, one(packed), { signal: this.#signal });
    } catch {
      // The export itself needs none of it.
      this.#failed = true;
    }
  }

  async #read(segment: Segment): Promise<Buffer[]> {
    try {
      const { stream } = await this.#store.get(segment.key);
      const bytes = await decompress(await buffer(stream), { maxOutputLength: MAX_UNPACKED });
      const pages: Buffer[] = [];
      for (let at = 0; at < bytes.byteLength;) {
        const length = bytes.readUInt32LE(at);
        pages.push(bytes.subarray(at + 4, at + 4 + length));
        at += 4 + length;
      }
      return pages;
    } catch {
      this.#segments = this.#segments.filter((other) => other !== segment);
      return [];
    }
  }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

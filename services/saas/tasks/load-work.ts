/** The thread's side of a bulk load: reads blocks, unpacks them, and hands what their lines say to the node in batches. */
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { failedPrecondition, viewError } from "../../../lib/errors.ts";
import type { JobScope } from "../../../lib/job-thread/serve.ts";
import type { ObjectStore } from "../../../lib/objects/object-store.ts";
import type { BadLine, LoadBatch, LoadPlace } from "./load-batch.ts";
import { BatchPacker } from "./load-batch.ts";
import { LineSplitter } from "./line-splitter.ts";
import { readItem } from "./read-item.ts";

/** What the thread is told. */
export interface LoadWork {
  files: { name: string; blocks: { object: string; length: number }[] }[];
  from: LoadPlace;
}

export const MAX_LINE_BYTES = 1024 * 1024;
/** As many as the store changes at once. */
const BATCH_ITEMS = 500;
const BATCH_BYTES = 256 * 1024;
/** Batches that the node has not applied yet. */
const AHEAD = 2;
/** Of a batch, told with their reasons. */
const MAX_BAD_LINES = 1_000;
/** It may name what the line holds. */
const MAX_REASON = 300;
const CHUNK_BYTES = 32 * 1024;

/** Resolves when the node has applied all lines. */
export async function readLoad({ files, from }: LoadWork, { store, signal, call }: JobScope<never>): Promise<void> {
  const sender = new Sender((batch) => call(batch, [batch.packed.buffer]));
  const lines = new LinesRead({ ...from });
  for (; lines.place.file < files.length; lines.nextFile()) {
    const { name, blocks } = files[lines.place.file]!;
    const splitter = new LineSplitter(MAX_LINE_BYTES);
    const { block: first, offset: skipped } = lines.place;
    for (const [index, block] of blocks.entries()) {
      if (index < first) continue;
      let at = index === first ? skipped : 0;
      for await (const chunk of contentFrom(store, block, at, signal)) {
        const start = at;
        splitter.push(chunk, (line, next) => lines.add(name, line, { block: index, offset: start + next }));
        at += chunk.length;
        for (const batch of lines.takeFull()) await sender.send(batch);
      }
      if (at !== block.length) throw failedPrecondition(`a block of ${name} has ${at} bytes, not ${block.length}`);
    }
    // A place within the file is a line's: the next file begins behind the last.
    splitter.end((line) => lines.add(name, line, { block: blocks.length, offset: 0 }));
  }
  for (const batch of [...lines.takeFull(), lines.take()]) await sender.send(batch);
  await sender.finish();
}

/** A block, unpacked, from an offset on. */
async function* contentFrom(
  store: ObjectStore,
  block: { object: string; length: number },
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  if (offset >= block.length) return;
  let at = 0;
  for await (const chunk of contentOf(store, block, signal)) {
    if (at + chunk.length > offset) yield chunk.subarray(Math.max(0, offset - at));
    at += chunk.length;
  }
}

async function* contentOf(
  store: ObjectStore,
  { object }: { object: string },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const { stream } = await store.get(object);
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  const piping = pipeline(stream, gunzip, { signal });
  // Whoever reads is told.
  piping.catch(() => undefined);
  try {
    yield* gunzip as AsyncIterable<Buffer>;
    await piping;
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (code.startsWith("Z_")) throw failedPrecondition(`a block cannot be unpacked: ${message}`);
    throw error;
  } finally {
    stream.destroy();
  }
}

/** The lines since the last batch. */
class LinesRead {
  /** Behind the last whole line: what has begun of the next one is read again. */
  readonly place: LoadPlace;
  #first: number;
  #packer = new BatchPacker();
  #badLines: BadLine[] = [];
  #bad = 0;
  readonly #full: LoadBatch[] = [];

  constructor(place: LoadPlace) {
    this.place = place;
    this.#first = place.position;
  }

  /** The batches that are full; what is left of a chunk's lines is not yet one. */
  takeFull(): LoadBatch[] {
    return this.#full.splice(0);
  }

  nextFile(): void {
    Object.assign(this.place, { file: this.place.file + 1, block: 0, offset: 0, line: 0 });
  }

  /** Blank lines hold nothing, and are nothing bad. */
  add(file: string, line: string | undefined, next: Pick<LoadPlace, "block" | "offset">): void {
    const distance = this.place.position - this.#first;
    const { position, line: before } = this.place;
    Object.assign(this.place, next, { position: position + 1, line: before + 1 });
    this.#read(file, line, distance);
    const { userids, byteLength } = this.#packer;
    if (userids.length >= BATCH_ITEMS || byteLength >= BATCH_BYTES || this.#bad >= BATCH_ITEMS) {
      this.#full.push(this.take());
    }
  }

  take(): LoadBatch {
    const { userids } = this.#packer;
    const batch = {
      userids,
      packed: this.#packer.packed(),
      badLines: this.#badLines,
      bad: this.#bad,
      end: { ...this.place },
    };
    this.#packer = new BatchPacker();
    this.#badLines = [];
    this.#bad = 0;
    this.#first = this.place.position;
    return batch;
  }

  #read(file: string, line: string | undefined, distance: number): void {
    if (line === undefined) return this.#refuse(file, `line: is longer than ${MAX_LINE_BYTES} bytes`);
    if (line === "" || line.trim() === "") return;
    try {
      const { userid, change } = readItem(line);
      this.#packer.add(userid, change, distance);
    } catch (error) {
      this.#refuse(file, viewError(error).message);
    }
  }

  #refuse(file: string, reason: string): void {
    this.#bad += 1;
    if (this.#badLines.length >= MAX_BAD_LINES) return;
    this.#badLines.push({ file, line: this.place.line, reason: reason.slice(0, MAX_REASON) });
  }
}

/** Sends batches, a few ahead of what is applied. */
class Sender {
  readonly #send: (batch: LoadBatch) => Promise<unknown>;
  readonly #open: Promise<unknown>[] = [];

  constructor(send: (batch: LoadBatch) => Promise<unknown>) {
    this.#send = send;
  }

  async send(batch: LoadBatch): Promise<void> {
    const sent = this.#send(batch);
    // Told to whoever waits for it.
    sent.catch(() => undefined);
    this.#open.push(sent);
    if (this.#open.length >= AHEAD) await this.#open.shift();
  }

  async finish(): Promise<void> {
    for (const sent of this.#open) await sent;
  }
}

/**
 * Readings that do not fit into one answer. Each has a read-only connection of its own with a snapshot of the store, so
 * that writers never wait for a reader.
 */
import { LongshoreError } from "../../errors.ts";
import { Catalog } from "./catalog.ts";
import { Connection } from "./connection.ts";
import { serialize } from "./documents.ts";
import { compileProjection } from "./projection.ts";
import type { Found } from "./selection.ts";
import { Selection } from "./selection.ts";
import type { Request } from "./wire.ts";
import { readArguments } from "./wire.ts";

const MAX_OPEN = 32;
const IDLE_MS = 10 * 60_000;
const CACHE_KIB = 1_024;

const BATCH_DOCUMENTS = 1_000;
const BATCH_BYTES = 4 * 1024 * 1024;
/** A batch ends after so long even where it is empty: others wait for the thread. */
const BATCH_MS = 20;

export interface Batch {
  documents: Uint8Array[];
  done: boolean;
}

type Reading = Generator<Found | undefined, void, undefined>;

/** The next documents of a reading, as many as one answer may hold and one turn may take. */
export function readBatch(reading: Reading, project: ((bytes: Uint8Array) => Uint8Array) | undefined): Batch {
  const documents: Uint8Array[] = [];
  const end = performance.now() + BATCH_MS;
  let size = 0;
  for (;;) {
    const { value: found, done } = reading.next();
    if (done) return { documents, done: true };
    if (found) {
      const bytes = project ? project(found.bytes) : found.bytes;
      documents.push(bytes);
      size += bytes.length;
      if (documents.length >= BATCH_DOCUMENTS || size >= BATCH_BYTES) return { documents, done: false };
    }
    if ((!found || documents.length % 64 === 0) && performance.now() > end) return { documents, done: false };
  }
}

/** The cursor's number stands in front while there is more. */
export function batchAnswer({ documents, done }: Batch, cursor?: number): Uint8Array[] {
  return [serialize(done ? {} : { cursor }), ...documents];
}

interface Cursor {
  connection: Connection;
  reading: Reading;
  project: ((bytes: Uint8Array) => Uint8Array) | undefined;
  usedAt: number;
}

export class Cursors {
  readonly #file: string;
  readonly #open = new Map<number, Cursor>();
  /** Cursors that were closed for a reason that their user has yet to hear. */
  readonly #ended = new Map<number, string>();
  #last = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** Begins a reading; answers its first batch. */
  begin({ collection, documents }: Request): Uint8Array[] {
    if (this.#open.size >= MAX_OPEN) {
      throw new LongshoreError("RESOURCE_EXHAUSTED", `${collection}: ${MAX_OPEN} cursors are open already`);
    }
    const { filter, options } = readArguments(documents[0]);
    const connection = new Connection(this.#file, { readOnly: true, cacheKiB: CACHE_KIB });
    connection.run("BEGIN");
    // The first read of the snapshot: so the catalog is that of the documents.
    const table = new Catalog(connection).table(collection);
    const reading = new Selection(table, filter, options).read(connection);
    const id = (this.#last += 1);
    this.#open.set(id, { connection, reading, project: compileProjection(options.projection), usedAt: Date.now() });
    return batchAnswer(this.#next(id), id);
  }

  /** Goes on with a reading, or ends it. */
  answer({ operation, documents }: Request): Uint8Array[] {
    const { cursor } = readArguments(documents[0]);
    if (operation === "more") return batchAnswer(this.#next(cursor), cursor);
    this.close(cursor);
    return [];
  }

  #next(id: number): Batch {
    const cursor = this.#open.get(id);
    if (!cursor) {
      const reason = this.#ended.get(id) ?? "is closed";
      this.#ended.delete(id);
      throw new LongshoreError("ABORTED", `the cursor ${reason}`);
    }
    cursor.usedAt = Date.now();
    try {
      const batch = readBatch(cursor.reading, cursor.project);
      if (batch.done) this.close(id);
      return batch;
    } catch (error) {
      this.close(id);
      throw error;
    }
  }

  close(id: number): void {
    const cursor = this.#open.get(id);
    if (!cursor) return;
    this.#open.delete(id);
    cursor.reading.return();
    cursor.connection.close();
  }

  /** Closes those that nobody has read for long. */
  closeIdle(): void {
    for (const [id, { usedAt }] of this.#open) {
      if (Date.now() - usedAt > IDLE_MS) this.#end(id, "was not read for ten minutes");
    }
  }

  /** Ends the oldest snapshot: the write-ahead log cannot shrink below what it still needs. */
  endOldest(): void {
    const [oldest] = this.#open.keys();
    if (oldest !== undefined) this.#end(oldest, "was read too slowly: too much was written meanwhile");
  }

  closeAll(): void {
    for (const id of this.#open.keys()) this.close(id);
  }

  #end(id: number, reason: string): void {
    this.close(id);
    this.#ended.set(id, reason);
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > MAX_OPEN && oldest !== undefined) this.#ended.delete(oldest);
  }
}

/**
 * The port to the datastore: the part of the MongoDB driver that the services use, in the driver's own types.
 * Two adapters stand behind it: MongoDB itself and the embedded store (SQLite). A method, an option or an operator
 * that a service uses must be in the conformance suite, which runs on both.
 *
 * Documents hold null, booleans, numbers (safe integers and doubles), strings, Dates, Uint8Arrays, arrays and plain
 * objects of these. `_id` is a string or a number. Uint8Arrays come back as Buffers.
 */
import type {
  AnyBulkWriteOperation,
  BulkWriteOptions,
  DeleteResult,
  Document,
  Filter,
  IndexDescription,
  OptionalUnlessRequiredId,
  UpdateFilter,
  UpdateResult,
} from "mongodb";

export type { AnyBulkWriteOperation, Document, Filter, IndexDescription, UpdateFilter } from "mongodb";

export interface Datastore {
  readonly kind: "mongodb" | "embedded";
  /**
   * The collection of that name, with these indexes made (and brought up to date) before it resolves. Indexes take
   * `key`, `name`, `unique`, `partialFilterExpression` (equality, $exists, $gt/$gte/$lt/$lte, $type are enough) and
   * `expireAfterSeconds`.
   */
  collection<T extends Document>(name: string, indexes?: IndexDescription[]): Promise<Collection<T>>;
  /** The database's clock: what leases and due times are measured by, the same on every node. */
  now(): Date;
  /** Rejects when the database does not answer within a second or two. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Paths in order of weight, each ascending or descending. */
export type Sort = Record<string, 1 | -1>;

export interface FindOptions {
  sort?: Sort;
  limit?: number;
  skip?: number;
  projection?: Document;
  /** Index name: fails where there is no such index. */
  hint?: string;
}

/** Streams documents; never holds more than a batch. Closed by exhaustion, `close()`, or leaving the for-await. */
export interface Cursor<T> extends AsyncIterable<T> {
  toArray(): Promise<T[]>;
  close(): Promise<void>;
}

/** The document as it is to be, with the same id; the one given may be changed for it. */
export type ChangeOne<T> = (document: T | null, id: string) => T | null;

/** Documents that one `changeEach` may name. */
export const MAX_CHANGED = 1_000;

export interface Collection<T extends Document> {
  /** Rejects with `code: 11000`, `keyPattern` and `keyValue` where a unique index is violated. */
  insertOne(document: OptionalUnlessRequiredId<T>): Promise<void>;
  /** `ordered: false` goes on after a failing document and then rejects with `writeErrors: {index, code, keyPattern}[]`. */
  insertMany(documents: OptionalUnlessRequiredId<T>[], options?: { ordered?: boolean }): Promise<void>;
  findOne(filter: Filter<T>, options?: FindOptions): Promise<T | null>;
  find(filter: Filter<T>, options?: FindOptions): Cursor<T>;
  findOneAndUpdate(
    filter: Filter<T>,
    update: UpdateFilter<T>,
    options?: { sort?: Sort; upsert?: boolean; returnDocument?: "before" | "after"; projection?: Document },
  ): Promise<T | null>;
  updateOne(filter: Filter<T>, update: UpdateFilter<T>, options?: { upsert?: boolean }): Promise<UpdateResult<T>>;
  updateMany(filter: Filter<T>, update: UpdateFilter<T>): Promise<UpdateResult<T>>;
  /**
   * Reads the documents of these ids, which differ, and stores what `change` makes of each, all of them or none. It is given
   * them in the order of the ids, null for one that is not there, and answers null where nothing is to be stored. What it was
   * given is what is there when the changes are stored: where another writer comes in between, all of it is done again, so
   * `change` must go by what it is given alone. It runs on the event loop: at most MAX_CHANGED, of little work each.
   */
  changeEach(ids: readonly string[], change: ChangeOne<T>): Promise<void>;
  deleteOne(filter: Filter<T>): Promise<DeleteResult>;
  deleteMany(filter: Filter<T>): Promise<DeleteResult>;
  bulkWrite(operations: AnyBulkWriteOperation<T>[], options?: Pick<BulkWriteOptions, "ordered">): Promise<BulkResult>;
  countDocuments(filter: Filter<T>, options?: { limit?: number; hint?: string }): Promise<number>;
  /**
   * How the store would run the query: the index it uses, or null where it would read the whole collection, and `sorted`
   * where it would have to sort all that it finds before the first document.
   */
  explain(filter: Filter<T>, options?: FindOptions): Promise<{ index: string | null; detail: string; sorted: boolean }>;
}

export interface BulkResult {
  insertedCount: number;
  matchedCount: number;
  modifiedCount: number;
  deletedCount: number;
  upsertedCount: number;
}

/** Throws RangeError where one call may not change so many. */
export function checkChanged(ids: readonly string[]): void {
  if (ids.length > MAX_CHANGED) throw new RangeError(`at most ${MAX_CHANGED} documents are changed at once`);
}

/** True for the error that both adapters give where a unique index refuses a document. */
export function isDuplicateKey(
  error: unknown,
): error is Error & { code: 11000; keyPattern: Document; keyValue: Document } {
  return (error as { code?: unknown } | null)?.code === 11000;
}

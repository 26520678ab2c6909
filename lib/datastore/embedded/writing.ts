/** The writes: each refused one tells of itself, and leaves nothing of itself behind. */
import type { AnyBulkWriteOperation, Document, Filter, UpdateFilter } from "mongodb";
import type { BulkResult, FindOptions } from "../datastore.ts";
import type { RefusedWrite } from "../refusal.ts";
import { Refusal } from "../refusal.ts";
import type { Connection } from "./connection.ts";
import { deserialize, serialize } from "./documents.ts";
import { KeyedWriter } from "./keyed-writing.ts";
import type { Limit } from "./limit.ts";
import type { Found } from "./selection.ts";
import { Selection } from "./selection.ts";
import type { Shaped } from "./shapes.ts";
import type { Table } from "./table.ts";
import type { Update } from "./updating.ts";
import { compileUpdate, upserted } from "./updating.ts";

/** Documents that an update of many holds at once; what is beyond is read again one by one. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;

export interface Written extends BulkResult {
  upsertedId?: unknown;
  writeErrors: RefusedWrite[];
}

/** A found document, its content where there was room to hold it. */
type Held = Partial<Found> & Pick<Found, "rowid">;

interface Change {
  filter: Document;
  update: Update;
  /** The document to insert where none matches. */
  upsert?: () => Document;
}

export interface Modified {
  before: Uint8Array | null;
  after: Uint8Array | null;
}

export class Writer {
  readonly #connection: Connection;
  readonly #table: Table;
  readonly #limit: Limit | undefined;

  /** Throws TooLong where there is a limit and a write exceeds it. */
  constructor(connection: Connection, table: Table, limit?: Limit) {
    this.#connection = connection;
    this.#table = table;
    this.#limit = limit;
  }

  insert(documents: readonly Buffer[], ordered: boolean): RefusedWrite[] {
    return attemptEach(documents, ordered, (bytes) => this.#table.insert(bytes));
  }

  bulk(operations: AnyBulkWriteOperation<Document>[], ordered: boolean): Written {
    const written = nothingWritten();
    written.writeErrors = attemptEach(operations, ordered, (operation) => this.#operate(operation, written));
    return written;
  }

  /** The same of operations that were taken apart into shapes and values. */
  bulkShaped(shaped: Shaped, ordered: boolean): Written {
    const written = nothingWritten();
    const keyed = new KeyedWriter(this.#table, shaped, (operation) => {
      const alone = nothingWritten();
      this.#operate(operation, alone);
      return alone;
    });
    written.writeErrors = attemptEach(shaped.operations, ordered, (_, place) => {
      const counts = keyed.perform(place);
      if (!counts) return this.#operate(keyed.operation(place), written);
      written.matchedCount += counts.matchedCount;
      written.modifiedCount += counts.modifiedCount;
    });
    return written;
  }

  /** Changes the first document that matches; answers it as it was and as it is. */
  modify(
    filter: Document,
    update: Document,
    { sort, upsert }: { sort?: FindOptions["sort"]; upsert?: boolean },
  ): Modified {
    const apply = compileUpdate(update);
    const [found] = this.#find(filter, { sort, limit: 1 });
    if (!found) return { before: null, after: upsert ? this.#insertNew(upserted(filter, update)) : null };
    const before = found.bytes ?? this.#read(found.rowid);
    return { before, after: this.#change({ ...found, bytes: before }, apply) ?? before };
  }

  #operate(operation: AnyBulkWriteOperation<Document>, written: Written): void {
    if ("insertOne" in operation) {
      this.#insertNew(operation.insertOne.document);
      written.insertedCount += 1;
    } else if ("updateOne" in operation) {
      this.#update(changeOf(operation.updateOne), false, written);
    } else if ("updateMany" in operation) {
      this.#table.atomically(() => this.#update(changeOf(operation.updateMany), true, written));
    } else if ("replaceOne" in operation) {
      this.#update(replacementOf(operation.replaceOne), false, written);
    } else if ("deleteOne" in operation) {
      written.deletedCount += this.#delete(operation.deleteOne.filter, false);
    } else {
      written.deletedCount += this.#delete(operation.deleteMany.filter, true);
    }
  }

  #update({ filter, update, upsert }: Change, many: boolean, written: Written): void {
    const found = this.#find(filter, many ? {} : { limit: 1 });
    let modified = 0;
    for (const one of found) if (this.#change(one, update)) modified += 1;
    written.matchedCount += found.length;
    written.modifiedCount += modified;
    if (found.length > 0 || !upsert) return;
    const document = upsert();
    this.#insertNew(document);
    written.upsertedCount += 1;
    written.upsertedId = document._id;
  }

  #delete(filter: Document, many: boolean): number {
    const found = this.#find(filter, many ? {} : { limit: 1 });
    for (const { rowid } of found) this.#table.delete(rowid);
    return found.length;
  }

  /** All of them before the first is changed, so that none is met twice. */
  #find(filter: Document, options: FindOptions): Held[] {
    const found: Held[] = [];
    let held = 0;
    for (const one of new Selection(this.#table, filter, options).read(this.#connection)) {
      if (!one) {
        this.#limit?.pause();
        continue;
      }
      this.#limit?.take();
      held += one.bytes.length;
      found.push(held <= MAX_HELD_BYTES ? one : { rowid: one.rowid });
    }
    return found;
  }

  #read(rowid: number): Uint8Array {
    const [row] = this.#connection.rows(`SELECT doc FROM ${this.#table.name} WHERE rowid = ?`, [rowid]);
    return (row as [Uint8Array])[0];
  }

  /** The document as it now is, undefined where the update changed nothing. */
  #change({ rowid, bytes, document }: Held, update: Update): Uint8Array | undefined {
    const changing = document ?? deserialize(bytes ?? this.#read(rowid));
    const before = this.#table.keysOf(changing);
    if (!update(changing)) return undefined;
    const changed = serialize(changing);
    this.#table.replace(rowid, before, changing, changed);
    return changed;
  }

  #insertNew(document: Document): Uint8Array {
    const bytes = serialize(document);
    this.#table.insert(bytes);
    return bytes;
  }
}

function nothingWritten(): Written {
  const counts = { insertedCount: 0, matchedCount: 0, modifiedCount: 0, deletedCount: 0, upsertedCount: 0 };
  return { ...counts, writeErrors: [] };
}

/** Does one after the other; ordered, the first that is refused ends it. */
function attemptEach<T>(
  items: readonly T[],
  ordered: boolean,
  attempt: (item: T, index: number) => void,
): RefusedWrite[] {
  const refused: RefusedWrite[] = [];
  for (const [index, item] of items.entries()) {
    try {
      attempt(item, index);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, message, keyPattern, keyValue } = error;
      refused.push({ index, code, message, keyPattern, keyValue });
      if (ordered) break;
    }
  }
  return refused;
}

function changeOf(operation: {
  filter: Filter<Document>;
  update: UpdateFilter<Document> | Document[];
  upsert?: boolean;
}): Change {
  const { filter, update, upsert } = operation;
  return { filter, update: compileUpdate(update), upsert: upsert ? () => upserted(filter, update) : undefined };
}

function replacementOf(operation: { filter: Filter<Document>; replacement: Document; upsert?: boolean }): Change {
  const { filter, replacement, upsert } = operation;
  const update = (document: Document) => {
    const before = serialize(document);
    const id: unknown = document._id;
    for (const key of Object.keys(document)) delete document[key];
    Object.assign(document, { _id: id }, replacement, { _id: id });
    return Buffer.compare(before, serialize(document)) !== 0;
  };
  const insert = () => ({ ...upserted(filter, {}), ...replacement });
  return { filter, update, upsert: upsert ? insert : undefined };
}

/** What each request does to the store, in documents in and documents out. */
import type { AnyBulkWriteOperation, Document, IndexDescription } from "mongodb";
import type { FindOptions } from "../datastore.ts";
import type { Catalog } from "./catalog.ts";
import type { Connection } from "./connection.ts";
import type { Batch, Cursors } from "./cursors.ts";
import { readBatch } from "./cursors.ts";
import { deserialize, serialize } from "./documents.ts";
import { compileProjection } from "./projection.ts";
import { Selection } from "./selection.ts";
import type { Operation, Request } from "./wire.ts";
import { Writer } from "./writing.ts";

const WRITES: ReadonlySet<Operation> = new Set(["declare", "insert", "bulk", "modify"]);

export function isWrite(operation: Operation): boolean {
  return WRITES.has(operation);
}

interface Arguments {
  filter: Document;
  options: FindOptions & { upsert?: boolean; returnDocument?: "before" | "after" };
  ordered: boolean;
  update: Document;
  indexes?: IndexDescription[];
  cursor: number;
}

export class Requests {
  readonly #connection: Connection;
  readonly #catalog: Catalog;
  readonly #cursors: Cursors;

  constructor(connection: Connection, catalog: Catalog, cursors: Cursors) {
    this.#connection = connection;
    this.#catalog = catalog;
    this.#cursors = cursors;
  }

  write({ operation, collection, shaped }: Request, documents: Buffer[]): Uint8Array[] {
    const [head, ...rest] = documents;
    const { indexes, ordered, filter, update, options } = deserialize<Arguments>(head ?? EMPTY);
    if (operation === "declare") {
      this.#catalog.declare(collection, indexes);
      return [];
    }
    const table = this.#catalog.table(collection);
    const writer = new Writer(this.#connection, table);
    if (operation === "insert") return [serialize({ writeErrors: writer.insert(rest, ordered) })];
    if (shaped) return [serialize(writer.bulkShaped(shaped, ordered))];
    if (operation === "bulk") {
      const operations = rest.map((bytes) => deserialize<AnyBulkWriteOperation<Document>>(bytes));
      return [serialize(writer.bulk(operations, ordered))];
    }
    const { before, after } = writer.modify(filter, update, options);
    const bytes = options.returnDocument === "after" ? after : before;
    const project = compileProjection(options.projection);
    return bytes ? [project ? project(bytes) : bytes] : [];
  }

  /** Answers undefined where the reading is too long for a group: `stream` begins it again on a snapshot. */
  read({ operation, collection }: Request, documents: Uint8Array[]): Uint8Array[] | undefined {
    if (operation === "ping") return [];
    const { filter, options } = deserialize<Arguments>(documents[0] ?? EMPTY);
    const table = this.#catalog.table(collection);
    const selection = new Selection(table, filter, options);
    if (operation === "count") return [serialize({ count: selection.count(this.#connection) })];
    if (operation === "explain") return [serialize({ detail: selection.explain(this.#connection) })];
    const reading = selection.read(this.#connection);
    try {
      const batch = readBatch(reading, compileProjection(options.projection));
      return batch.done ? batchAnswer(batch) : undefined;
    } finally {
      reading.return();
    }
  }

  /** The next documents of a long reading. */
  stream({ operation, collection }: Request, documents: Uint8Array[]): Uint8Array[] {
    const { filter, options, cursor } = deserialize<Arguments>(documents[0] ?? EMPTY);
    if (operation === "closeCursor") {
      this.#cursors.close(cursor);
      return [];
    }
    const id = operation === "more" ? cursor : this.#cursors.open(this.#catalog.table(collection), filter, options);
    return batchAnswer(this.#cursors.next(id), id);
  }
}

const EMPTY = serialize({});

/** The cursor's number stands in front while there is more. */
function batchAnswer({ documents, done }: Batch, cursor?: number): Uint8Array[] {
  return [serialize(done ? {} : { cursor }), ...documents];
}

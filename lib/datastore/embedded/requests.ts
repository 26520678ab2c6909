/** What each request does to the store, in documents in and documents out. */
import type { AnyBulkWriteOperation, Document } from "mongodb";
import type { Catalog } from "./catalog.ts";
import type { Connection } from "./connection.ts";
import { batchAnswer, readBatch } from "./cursors.ts";
import { changeEach } from "./changing.ts";
import { deserialize, serialize } from "./documents.ts";
import type { Limit } from "./limit.ts";
import { compileProjection } from "./projection.ts";
import { Selection } from "./selection.ts";
import type { Operation, Request } from "./wire.ts";
import { readArguments } from "./wire.ts";
import { Writer } from "./writing.ts";

const WRITES: ReadonlySet<Operation> = new Set(["declare", "insert", "bulk", "modify", "change"]);

export function isWrite(operation: Operation): boolean {
  return WRITES.has(operation);
}

export class Requests {
  readonly #connection: Connection;
  readonly #catalog: Catalog;

  constructor(connection: Connection, catalog: Catalog) {
    this.#connection = connection;
    this.#catalog = catalog;
  }

  /** Throws TooLong where there is a limit and the request exceeds it. */
  write({ operation, collection, documents, shaped, changing }: Request, limit?: Limit): Uint8Array[] {
    const [head, ...rest] = documents;
    const { indexes, ordered, filter, update, options } = readArguments(head);
    if (operation === "declare") {
      this.#catalog.declare(collection, indexes);
      return [];
    }
    const table = this.#catalog.table(collection);
    if (changing) {
      changeEach(table, changing);
      return [];
    }
    const writer = new Writer(this.#connection, table, limit);
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

  /** Answers undefined where a reading is too long for one answer: cursors are for that. Throws TooLong as `write` does. */
  read({ operation, collection, documents }: Request, limit?: Limit): Uint8Array[] | undefined {
    if (operation === "ping") return [];
    const { filter, options } = readArguments(documents[0]);
    const selection = new Selection(this.#catalog.table(collection), filter, options);
    if (operation === "count") return [serialize({ count: selection.count(this.#connection, limit) })];
    if (operation === "explain") return [serialize({ detail: selection.explain(this.#connection) })];
    const reading = selection.read(this.#connection);
    try {
      const batch = readBatch(reading, compileProjection(options.projection));
      return batch.done ? batchAnswer(batch) : undefined;
    } finally {
      reading.return();
    }
  }
}

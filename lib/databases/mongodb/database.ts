import type { Document } from "mongodb";
import { BSON } from "mongodb";
import { failedPrecondition, LongshoreError } from "../../errors.ts";
import type { RowSource } from "../../sources/row-source.ts";
import type { Row } from "../../tabular/table.ts";
import { batchSource, columnsOf, ROWS_PER_BATCH } from "../batches.ts";
import type { Database, Selection, TableColumn, TableWriter, Writing } from "../database.ts";
import type { DatabaseOptions } from "../database.ts";
import { noSuchTable } from "../selection.ts";
import { cellOf } from "./cells.ts";
import { keysOf } from "./keys.ts";
import { aggregationOf } from "./selection.ts";
import type { MongoSource, Session } from "./session.ts";
import { ask, connect } from "./session.ts";

/**
 * The last stage of whatever is read. MongoDB has no transaction that reads alone and lasts; but it takes the stages that
 * write, `$out` and `$merge`, at the end only.
 */
const NOTHING_WRITES: Document = { $match: {} };

/** Documents are counted up to so many. */
const COUNT_LIMIT = 10_000_000;

export async function openMongodb(source: MongoSource, options: DatabaseOptions): Promise<Database> {
  return new MongodbDatabase(await connect(source, options), options);
}

class MongodbDatabase implements Database {
  readonly dialect = "mongodb";
  readonly #session: Session;
  readonly #options: DatabaseOptions;
  readonly #end: Promise<void>;

  constructor(session: Session, options: DatabaseOptions) {
    this.#session = session;
    this.#options = options;
    this.#end = session.link.end.then(() => this.#kill());
  }

  async tables(): Promise<string[]> {
    const { database, session } = this.#session;
    const found = await this.#ask(() => database.listCollections({}, { nameOnly: true, session }).toArray());
    return found
      .map(({ name }) => name)
      .filter((name) => !name.startsWith("system."))
      .toSorted();
  }

  async columns(table: string): Promise<TableColumn[]> {
    await this.#describe(table);
    const keys = await keysOf(this.#session, { collection: table, pipeline: [] }, this.#options.statementTimeoutMs);
    const most = Math.max(0, ...keys.map(({ documents }) => documents));
    return keys.map(({ name, types, documents }) => ({
      name,
      type: types.join(" | "),
      nullable: documents < most || types.includes("null"),
      key: name === "_id" ? "PRI" : "",
    }));
  }

  /** The options of a collection, with its validator, and its indexes, as EJSON. */
  async createStatement(table: string): Promise<string> {
    const { database, session } = this.#session;
    const { type, options } = await this.#describe(table);
    const indexes =
      type === "view" ? [] : await this.#ask(() => database.collection(table).listIndexes({ session }).toArray());
    return BSON.EJSON.stringify({ create: table, ...options, indexes }, undefined, 2, { relaxed: true });
  }

  async estimate(selection: Selection): Promise<number | undefined> {
    const { collection, pipeline } = aggregationOf(selection);
    const { database, session } = this.#session;
    const maxTimeMS = this.#options.statementTimeoutMs;
    if (!("statement" in selection) && selection.filter === undefined)
      return this.#ask(() => database.collection(collection).estimatedDocumentCount({ maxTimeMS }));
    const stages = [...pipeline, NOTHING_WRITES, { $limit: COUNT_LIMIT }, { $count: "rows" }];
    const found = await this.#ask(() =>
      database.collection(collection).aggregate(stages, { session, maxTimeMS }).toArray(),
    );
    return Number((found[0] as { rows?: number } | undefined)?.rows ?? 0);
  }

  async rows(selection: Selection): Promise<RowSource> {
    const { collection, pipeline, columns } = aggregationOf(selection);
    const { database, session, link } = this.#session;
    const maxTimeMS = this.#options.statementTimeoutMs;
    const stages = [...pipeline, NOTHING_WRITES];
    const names =
      columns ?? (await keysOf(this.#session, { collection, pipeline: stages }, maxTimeMS)).map(({ name }) => name);
    const cursor = database.collection(collection).aggregate(stages, { session, maxTimeMS, batchSize: ROWS_PER_BATCH });
    // It answers the first batch, or what is wrong with the statement.
    await this.#ask(() => cursor.hasNext());
    const batches = this.#batches(cursor, names);
    return batchSource(columnsOf(names.map((name) => ({ name }))), batches, () => link.tidy(() => cursor.close()));
  }

  async writer(writing: Writing): Promise<TableWriter> {
    if (this.#options.readOnly) throw failedPrecondition("the database was opened to be read");
    const { openWriter } = await import("./writer.ts");
    return openWriter(this.#session, writing);
  }

  async close(): Promise<void> {
    this.#session.link.cut(failedPrecondition("the database was closed"));
    await this.#end;
  }

  async *#batches(
    cursor: { hasNext(): Promise<boolean>; readBufferedDocuments(): Document[] },
    names: readonly string[],
  ): AsyncGenerator<readonly Row[]> {
    while (await this.#ask(() => cursor.hasNext())) {
      yield cursor.readBufferedDocuments().map((document) => rowOf(document, names));
    }
  }

  async #describe(table: string): Promise<{ type?: string; options?: Document }> {
    const { database, session } = this.#session;
    const [found] = await this.#ask(() => database.listCollections({ name: table }, { session }).toArray());
    if (!found) throw noSuchTable(table);
    return found as { type?: string; options?: Document };
  }

  #ask<T>(start: () => Promise<T>): Promise<T> {
    return ask(this.#session, start);
  }

  /** Ends on the servers what the session runs: not each of them soon sees that its client is gone. */
  async #kill(): Promise<void> {
    const { client, database, session } = this.#session;
    const killing =
      session.id === undefined ? Promise.resolve() : database.admin().command({ killSessions: [session.id] });
    // Over a connection that is lost neither ends well.
    const close = () => client.close().catch(() => undefined);
    const timer = setTimeout(() => void close(), this.#options.connectTimeoutMs);
    await killing.catch(() => undefined);
    clearTimeout(timer);
    await close();
  }
}

/** The cells of a document. One that has a key more than there are columns came after they were found: nothing is left out unsaid. */
function rowOf(document: Document, names: readonly string[]): Row {
  let found = 0;
  const row = names.map((name) => {
    const value: unknown = document[name];
    if (value !== undefined) found += 1;
    return cellOf(value);
  });
  if (found < Object.keys(document).length) {
    const key = Object.keys(document).find((each) => !names.includes(each) || document[each] === undefined);
    if (key !== undefined && document[key] !== undefined)
      throw new LongshoreError(
        "ABORTED",
        `the documents were changed while they were read: ${JSON.stringify(key)} is a new key`,
      );
  }
  return row;
}

/** Reading from a table: SQL finds candidates, mingo decides where SQL could not, in the order and the number asked for. */
import type { Document } from "mongodb";
import { failedPrecondition, LongshoreError } from "../../errors.ts";
import type { FindOptions, Sort } from "../datastore.ts";
import type { Connection } from "./connection.ts";
import { quoteName } from "./connection.ts";
import { deserialize } from "./documents.ts";
import type { Key } from "./index-key.ts";
import type { Limit } from "./limit.ts";
import { TooLong } from "./limit.ts";
import { compileFilter } from "./matching.ts";
import { narrow, orderBy, VALUE } from "./narrowing.ts";
import { implies } from "./partial-index.ts";
import type { Table } from "./table.ts";
import { indexName, tableName } from "./table.ts";
import { compareSortKeys, sortKeys } from "./value-order.ts";

/** What a sort without an index may hold, as in MongoDB. */
const MAX_SORT_BYTES = 100 * 1024 * 1024;
/** Candidates between two pauses of a reading, at which its user may stop it. */
const CANDIDATES_PER_PAUSE = 100;
/** Entries of an index; more take over a millisecond. */
const COUNTED_AT_ONCE = 20_000;

/** A document that was found; `document` where it had to be decoded for that. */
export interface Found {
  rowid: number;
  bytes: Uint8Array;
  document?: Document;
}

export class Selection {
  readonly #table: Table;
  readonly #from: string;
  readonly #parameters: Key[];
  readonly #matches: ((document: Document) => boolean) | undefined;
  readonly #order: string | undefined;
  readonly #sort: Sort | undefined;
  readonly #limit: number;
  readonly #skip: number;

  constructor(table: Table, filter: Document, options: FindOptions = {}) {
    this.#table = table;
    const { terms, parameters, facts, rest } = narrow(filter, table.columnOf);
    // SQLite uses a partial index only where the query repeats its condition, literally.
    const within = table.indexes.filter(({ where, conditions }) => where && implies(facts, conditions));
    const where = [...terms, ...new Set(within.map((index) => index.where))].join(" AND ");
    this.#from = `FROM ${table.name}${hinted(table, options.hint)}${where && ` WHERE ${where}`}`;
    this.#parameters = parameters;
    this.#matches = rest.length > 0 ? compileFilter(rest.length === 1 ? (rest[0] ?? {}) : { $and: rest }) : undefined;
    const sort = options.sort && Object.keys(options.sort).length > 0 ? options.sort : undefined;
    this.#order = sort && orderBy(sort, table.columnOf);
    this.#sort = this.#order === undefined ? sort : undefined;
    // As in the driver, a limit of 0 is none.
    this.#limit = options.limit || Infinity;
    this.#skip = options.skip ?? 0;
  }

  /** True where SQL alone finds just the documents that match, in their order. */
  get exact(): boolean {
    return !this.#matches && !this.#sort;
  }

  /** The documents found, with `undefined` between them where the reading may be broken off. */
  *read(connection: Connection): Generator<Found | undefined, void, undefined> {
    if (this.#sort) {
      yield* this.#readSorted(connection, this.#sort);
      return;
    }
    const [sql, parameters] = this.#sql("rowid, doc");
    if (!this.#matches) {
      for (const [rowid, bytes] of connection.iterate(sql, parameters) as Iterable<[number, Uint8Array]>) {
        yield { rowid, bytes };
      }
      return;
    }
    let skip = this.#skip;
    let left = this.#limit;
    for (const found of this.#matching(connection, sql, parameters)) {
      if (found && skip > 0) {
        skip -= 1;
        continue;
      }
      yield found;
      if (found && (left -= 1) === 0) return;
    }
  }

  /** The number of documents found. Throws TooLong where there is a limit and counting exceeds it. */
  count(connection: Connection, limit?: Limit): number {
    if (this.exact) {
      const [sql, parameters] = this.#sql("1");
      const within = limit
        ? `${sql.includes(" LIMIT ") ? `SELECT 1 FROM (${sql})` : sql} LIMIT ${COUNTED_AT_ONCE}`
        : sql;
      const [row] = connection.rows(`SELECT count(*) FROM (${within})`, parameters);
      const count = Number(row?.[0] ?? 0);
      if (limit && count === COUNTED_AT_ONCE) throw new TooLong("too many documents to be counted");
      return count;
    }
    let count = 0;
    for (const found of this.read(connection)) {
      if (found) count += 1;
      else limit?.pause();
    }
    return count;
  }

  /** SQLite's plan for the reading. */
  explain(connection: Connection): string {
    const [sql, parameters] = this.#sql("rowid, doc");
    const rows = connection.rows(`EXPLAIN QUERY PLAN ${sql}`, parameters);
    return [...rows.map((row) => String(row[3])), ...(this.#sort ? ["SORT IN MEMORY"] : [])].join("; ");
  }

  #sql(columns: string): [sql: string, parameters: Key[]] {
    const order = this.#order === undefined ? "" : ` ORDER BY ${this.#order}`;
    if (!this.exact || (this.#limit === Infinity && this.#skip === 0)) {
      return [`SELECT ${columns} ${this.#from}${order}`, this.#parameters];
    }
    const limit = this.#limit === Infinity ? -1 : this.#limit;
    return [
      `SELECT ${columns} ${this.#from}${order} LIMIT ${VALUE} OFFSET ${VALUE}`,
      [...this.#parameters, limit, this.#skip],
    ];
  }

  *#matching(connection: Connection, sql: string, parameters: Key[]): Generator<Found | undefined, void, undefined> {
    let candidates = 0;
    for (const [rowid, bytes] of connection.iterate(sql, parameters) as Iterable<[number, Uint8Array]>) {
      const document = this.#matches || this.#sort ? deserialize(bytes) : undefined;
      if (!this.#matches || (document && this.#matches(document))) yield { rowid, bytes, document };
      candidates += 1;
      if (candidates % CANDIDATES_PER_PAUSE === 0) yield undefined;
    }
  }

  *#readSorted(connection: Connection, sort: Sort): Generator<Found | undefined, void, undefined> {
    const [sql, parameters] = this.#sql("rowid, doc");
    const sorting: { keys: unknown[]; found: Found }[] = [];
    let size = 0;
    for (const found of this.#matching(connection, sql, parameters)) {
      if (!found) {
        yield undefined;
        continue;
      }
      size += found.bytes.length;
      if (size > MAX_SORT_BYTES) {
        throw new LongshoreError(
          "RESOURCE_EXHAUSTED",
          `${this.#table.collection}: sorting needs an index on ${Object.keys(sort).join(", ")}`,
        );
      }
      sorting.push({ keys: sortKeys(found.document ?? {}, sort), found: { rowid: found.rowid, bytes: found.bytes } });
    }
    sorting.sort((a, b) => compareSortKeys(a.keys, b.keys, sort));
    for (const { found } of sorting.slice(this.#skip, this.#skip + this.#limit)) yield found;
  }
}

function hinted(table: Table, hint: string | undefined): string {
  if (hint === undefined) return "";
  if (hint === "_id_") return ` INDEXED BY ${quoteName(`sqlite_autoindex_${tableName(table.collection)}_1`)}`;
  if (!table.indexes.some((index) => index.name === hint)) {
    throw failedPrecondition(`${table.collection}: there is no index ${hint}`);
  }
  return ` INDEXED BY ${quoteName(indexName(table.collection, hint))}`;
}

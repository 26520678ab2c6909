/** A collection as a table of the embedded store: the document as BSON, beside it a column of keys for each indexed path. */
import type { Document } from "mongodb";
import type { Connection } from "./connection.ts";
import { quoteName, sqliteCode } from "./connection.ts";
import { deserialize } from "./documents.ts";
import type { Sort } from "../datastore.ts";
import type { Key } from "./index-key.ts";
import { encodeKey, keyAt, NULL_KEY, sameKey } from "./index-key.ts";
import { KeyReader } from "./key-reader.ts";
import type { PreparedShape } from "./keyed-writing.ts";
import type { Fact } from "./narrowing.ts";
import { padded } from "./narrowing.ts";
import { BAD_VALUE, DUPLICATE_KEY, Refusal, TOO_LARGE } from "../refusal.ts";

const UNIQUE_VIOLATIONS = new Set([1555, 2067]);
/** MongoDB's limit for a document. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;
/** Of a document that is read together with many others. */
const MAX_ROW_BYTES = 256 * 1024;
const MAX_UPDATES = 256;

export interface Column {
  path: string;
  parts: readonly string[];
  name: string;
  /**
   * The path has held a value that no single key stands for, an array above all: the column no longer narrows or sorts.
   */
  wild: boolean;
}

export interface Index {
  name: string;
  key: Sort;
  unique: boolean;
  /** Conditions of a partial index, and their SQL. */
  conditions: Fact[];
  where: string;
  expireAfterSeconds?: number;
}

export interface Keys {
  keys: Key[];
  /** Columns for which the document holds what has no key. */
  wild: Column[];
}

/** Keys of some columns: a bit for each of them, and each key at its column's place. */
export interface ColumnKeys {
  columns: number;
  keys: Key[];
}

export interface Row {
  rowid: number;
  bytes: Uint8Array;
}

export class Table {
  readonly collection: string;
  readonly columns: readonly Column[];
  readonly indexes: readonly Index[];
  /** Quoted, for SQL. */
  readonly name: string;
  readonly #connection: Connection;
  readonly #byPath: Map<string, Column>;
  readonly #insert: string;
  readonly #reader: KeyReader;
  readonly #guarded: Set<Column>;
  /** The SQL of an update by the columns that it changes. */
  readonly #updates = new Map<number, string>();
  /** Operations that were prepared for the table as it is declared, by their shape. */
  readonly prepared = new Map<string, PreparedShape>();

  constructor(connection: Connection, collection: string, columns: readonly Column[], indexes: readonly Index[]) {
    this.#connection = connection;
    this.collection = collection;
    this.columns = columns;
    this.indexes = indexes;
    this.name = quoteName(tableName(collection));
    this.#byPath = new Map(columns.map((column) => [column.path, column]));
    const names = ["id", "doc", ...columns.map((column) => column.name)];
    this.#insert = `INSERT INTO ${this.name} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`;
    this.#reader = new KeyReader(columns);
    const unique = indexes.filter((index) => index.unique);
    const paths = new Set(
      unique.flatMap(({ key, conditions }) => [...Object.keys(key), ...conditions.map((c) => c.path)]),
    );
    this.#guarded = new Set(columns.filter((column) => paths.has(column.path)));
  }

  /** The column that SQL may narrow and sort by for the path. */
  readonly columnOf = (path: string): string | undefined => {
    if (path === "_id") return "id";
    const column = this.#byPath.get(path);
    return column && !column.wild ? column.name : undefined;
  };

  insert(bytes: Buffer): void {
    checkSize(bytes);
    const { id, keys, wild } = this.#reader.read(bytes) ?? this.#decodedKeys(bytes);
    try {
      this.#connection.run(this.#insert, [id, bytes, ...keys]);
    } catch (error) {
      throw this.#translate(error, bytes);
    }
    this.#markWild(wild);
  }

  /** Writes a changed document to its row, which holds the keys that it had before. */
  replace(rowid: number, { keys: previous }: Keys, document: Document, bytes: Uint8Array): void {
    checkSize(bytes);
    const { keys, wild } = this.keysOf(document);
    // SQLite touches the indexes of all columns that are named, so only those that change are.
    const assignments = ["doc = ?"];
    const parameters: (Key | Uint8Array)[] = [bytes];
    for (const [index, key] of keys.entries()) {
      const old = previous[index];
      if (old !== undefined && sameKey(old, key)) continue;
      assignments.push(`${this.columns[index]?.name} = ?`);
      parameters.push(key);
    }
    try {
      this.#connection.run(`UPDATE ${this.name} SET ${assignments.join(", ")} WHERE rowid = ?`, [...parameters, rowid]);
    } catch (error) {
      throw this.#translate(error, bytes);
    }
    this.#markWild(wild);
  }

  /** Writes a changed document to its row, with the keys that changed. */
  update(rowid: number, bytes: Uint8Array, { columns, keys }: ColumnKeys): void {
    const parameters: (Key | Uint8Array)[] = [bytes];
    for (const [index, key] of keys.entries()) if (columns & (1 << index)) parameters.push(key);
    parameters.push(rowid);
    try {
      this.#connection.run(this.#updateOf(columns), parameters);
    } catch (error) {
      throw this.#translate(error, bytes);
    }
  }

  /** Those of the documents that are there and not large, by their IDs. */
  rowsOf(ids: readonly Key[], maxBytes = MAX_ROW_BYTES): Map<Key, Row> {
    const list = padded(ids);
    const rows = this.#connection.rows(this.#selectOf(list.length), [...list, maxBytes]) as [Key, number, Uint8Array][];
    return new Map(rows.map(([id, rowid, bytes]) => [id, { rowid, bytes }]));
  }

  delete(rowid: number): void {
    this.#connection.run(`DELETE FROM ${this.name} WHERE rowid = ?`, [rowid]);
  }

  /** Fills the columns of all documents, for indexes that were declared after them. */
  backfill(columns: readonly Column[]): void {
    const assignments = columns.map((column) => `${column.name} = ?`).join(", ");
    const next = `SELECT rowid, doc FROM ${this.name} WHERE rowid > ? ORDER BY rowid LIMIT 500`;
    let last = -1;
    for (;;) {
      const rows = this.#connection.rows(next, [last]);
      if (rows.length === 0) return;
      for (const [rowid, bytes] of rows as [number, Uint8Array][]) {
        const { keys, wild } = this.keysOf(deserialize(bytes), columns);
        this.#connection.run(`UPDATE ${this.name} SET ${assignments} WHERE rowid = ?`, [...keys, rowid]);
        this.#markWild(wild);
        last = rowid;
      }
    }
  }
  /** The document's keys, one for each column. */
  keysOf(document: Document, columns = this.columns): Keys {
    const wild: Column[] = [];
    const keys = columns.map((column) => {
      const key = keyAt(document, column.parts);
      if (key !== undefined) return key;
      if (this.#guarded.has(column)) {
        const message = `${this.collection}: ${column.path}: no array, object or NaN can be kept in a unique index`;
        throw new Refusal({ code: BAD_VALUE, message });
      }
      if (!column.wild) wild.push(column);
      return NULL_KEY;
    });
    return { keys, wild };
  }

  /** As many statements as there are powers of two. */
  #selectOf(count: number): string {
    const marks = new Array(count).fill("?").join(",");
    return `SELECT id, rowid, doc FROM ${this.name} WHERE id IN (${marks}) AND length(doc) <= ?`;
  }

  #updateOf(changed: number): string {
    const known = this.#updates.get(changed);
    if (known) return known;
    const names = this.columns.filter((_, index) => changed & (1 << index)).map((column) => column.name);
    const sql = `UPDATE ${this.name} SET ${["doc", ...names].map((name) => `${name} = ?`).join(", ")} WHERE rowid = ?`;
    if (this.#updates.size >= MAX_UPDATES) this.#updates.clear();
    this.#updates.set(changed, sql);
    return sql;
  }

  /** Does all of the work or, where it throws, nothing of it. */
  atomically<T>(work: () => T): T {
    try {
      return this.#connection.atomically(work);
    } catch (error) {
      if (this.#connection.inTransaction) this.#rereadWild();
      throw error;
    }
  }

  #decodedKeys(bytes: Uint8Array): Keys & { id: Key } {
    const document = deserialize(bytes);
    return { id: encodeId(document._id), ...this.keysOf(document) };
  }

  /** Takes from the file which columns are wild, after a write was undone that may have marked some. */
  #rereadWild(): void {
    const sql = "SELECT path FROM paths WHERE collection = ? AND wild = 1";
    const wild = new Set(this.#connection.rows(sql, [this.collection]).map(([path]) => path));
    for (const column of this.columns) column.wild = wild.has(column.path);
  }

  /** After the write that brought the value, so that a refused one leaves no trace. */
  #markWild(columns: readonly Column[]): void {
    for (const column of columns) {
      column.wild = true;
      const sql = "UPDATE paths SET wild = 1 WHERE collection = ? AND path = ?";
      this.#connection.run(sql, [this.collection, column.path]);
    }
  }

  /** A violated unique index in MongoDB's words; any other error as it is. */
  #translate(error: unknown, bytes: Uint8Array): unknown {
    if (!UNIQUE_VIOLATIONS.has(sqliteCode(error) ?? 0)) return error;
    // "UNIQUE constraint failed: table.column, table.column": column names hold no dot.
    const columns = (error as Error).message.split(", ").map((column) => column.slice(column.lastIndexOf(".") + 1));
    const index = this.indexes.find(
      ({ key, unique }) => unique && Object.keys(key).map(this.columnOf).join() === columns.join(),
    );
    return duplicateKey(this.collection, index?.name ?? "_id_", index?.key ?? { _id: 1 }, deserialize(bytes));
  }
}

/** The name of a collection's table; the prefix keeps it apart from the store's own tables. */
export function tableName(collection: string): string {
  return `documents:${collection}`;
}

export function indexName(collection: string, index: string): string {
  return `index:${collection}:${index}`;
}

export function encodeId(id: unknown): Key {
  const key = typeof id === "string" || typeof id === "number" ? encodeKey(id) : undefined;
  if (key === undefined) throw new Refusal({ code: BAD_VALUE, message: "_id: must be a string or a number" });
  return key;
}

function duplicateKey(collection: string, index: string, keyPattern: Sort, document: Document): Refusal {
  const keyValue: Document = {};
  for (const path of Object.keys(keyPattern)) {
    let value: unknown = document;
    for (const part of path.split(".")) value = (value as Document | null | undefined)?.[part];
    keyValue[path] = value ?? null;
  }
  const shown = Object.entries(keyValue).map(([path, value]) => `${path}: ${JSON.stringify(value)}`);
  const message = `E11000 duplicate key error collection: ${collection} index: ${index} dup key: { ${shown.join(", ")} }`;
  return new Refusal({ code: DUPLICATE_KEY, message, keyPattern, keyValue });
}

function checkSize(bytes: Uint8Array): void {
  if (bytes.length <= MAX_DOCUMENT_BYTES) return;
  throw new Refusal({ code: TOO_LARGE, message: `the document has ${bytes.length} bytes, more than 16 MiB` });
}

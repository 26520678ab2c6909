/** Which collections, columns and indexes the file has, and how a declaration changes them. */
import type { Document, IndexDescription } from "mongodb";
import { failedPrecondition, invalidArgument } from "../../errors.ts";
import type { Sort } from "../datastore.ts";
import { DUPLICATE_KEY, Refusal } from "../refusal.ts";
import type { Connection } from "./connection.ts";
import { quoteName, sqliteCode } from "./connection.ts";
import { deserialize, serialize } from "./documents.ts";
import { conditionsOf, partialSql } from "./partial-index.ts";
import type { Column, Index } from "./table.ts";
import { indexName, Table, tableName } from "./table.ts";

const FORMAT = 1;
const COLLECTION_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const UNIQUE_VIOLATION = 2067;

/** An index as it is declared, in one form. */
interface Declared {
  name: string;
  key: Sort;
  unique: boolean;
  partialFilterExpression: Document;
  expireAfterSeconds?: number;
}

export class Catalog {
  readonly #connection: Connection;
  readonly #tables = new Map<string, Table>();

  constructor(connection: Connection) {
    this.#connection = connection;
    this.reload();
  }

  /** The table of a collection, made where there is none. */
  table(collection: string): Table {
    return this.#tables.get(collection) ?? this.declare(collection, undefined);
  }

  tables(): Iterable<Table> {
    return this.#tables.values();
  }

  /** Forgets what a transaction that was rolled back had changed. */
  reload(): void {
    this.#tables.clear();
    for (const [name] of this.#connection.rows("SELECT name FROM collections") as [string][]) this.#load(name);
  }

  /** Makes the collection and, where they are given, brings its indexes to just these. */
  declare(collection: string, indexes: IndexDescription[] | undefined): Table {
    this.#create(collection);
    if (indexes) this.#reindex(collection, indexes.map(normalize));
    return this.#load(collection);
  }

  #create(collection: string): void {
    if (!COLLECTION_NAME.test(collection)) {
      throw invalidArgument("collection", `${JSON.stringify(collection)} is not a name of a collection`);
    }
    const [row] = this.#connection.rows("SELECT name FROM collections WHERE name = ?", [collection]) as [string][];
    if (row && row[0] !== collection) {
      throw invalidArgument("collection", `${collection} and ${row[0]} differ in the case of letters only`);
    }
    if (row) return;
    const name = quoteName(tableName(collection));
    this.#connection.run(`CREATE TABLE ${name} (id PRIMARY KEY NOT NULL, doc BLOB NOT NULL)`);
    this.#connection.run("INSERT INTO collections VALUES (?, ?)", [collection, serialize({ indexes: [] })]);
  }

  #reindex(collection: string, declared: Declared[]): void {
    const stored = this.#declared(collection);
    const same = (a: Declared, b: Declared) => Buffer.compare(indexBytes(a), indexBytes(b)) === 0;
    const kept = stored.filter((index) => declared.some((other) => other.name === index.name && same(index, other)));
    for (const { name } of stored.filter((index) => !kept.includes(index))) {
      this.#connection.run(`DROP INDEX ${quoteName(indexName(collection, name))}`);
    }
    this.#keepColumns(collection, new Set(declared.flatMap(pathsOf)));
    this.#connection.run("UPDATE collections SET indexes = ? WHERE name = ?", [
      serialize({ indexes: declared }),
      collection,
    ]);
    const table = this.#load(collection);
    for (const index of table.indexes) {
      if (!kept.some(({ name }) => name === index.name)) this.#createIndex(table, index);
    }
  }

  #createIndex(table: Table, { name, key, unique, where }: Index): void {
    const columns = table.columns.map((column) => [column.path, column.name] as const);
    const names = new Map([["_id", "id"], ...columns]);
    const terms = Object.entries(key).map(
      ([path, direction]) => `${names.get(path)} ${direction === 1 ? "ASC" : "DESC"}`,
    );
    const quoted = quoteName(indexName(table.collection, name));
    const sql = `CREATE ${unique ? "UNIQUE " : ""}INDEX ${quoted} ON ${table.name} (${terms.join(", ")})`;
    try {
      this.#connection.run(where ? `${sql} WHERE ${where}` : sql);
    } catch (error) {
      if (sqliteCode(error) !== UNIQUE_VIOLATION) throw error;
      const message = `E11000 duplicate key error collection: ${table.collection} index: ${name}`;
      throw new Refusal({ code: DUPLICATE_KEY, message, keyPattern: key });
    }
  }

  /** Makes the columns of the paths, filled, and drops all others. */
  #keepColumns(collection: string, paths: ReadonlySet<string>): void {
    const columns = this.#columns(collection);
    const name = quoteName(tableName(collection));
    for (const column of columns.filter(({ path }) => !paths.has(path))) {
      this.#connection.run(`ALTER TABLE ${name} DROP COLUMN ${column.name}`);
      this.#connection.run("DELETE FROM paths WHERE collection = ? AND path = ?", [collection, column.path]);
    }
    let last = Math.max(-1, ...columns.map((column) => Number(column.name.slice(1))));
    const missing = [...paths].filter((path) => !columns.some((column) => column.path === path));
    if (missing.length === 0) return;
    const added = missing.map((path) => {
      const column = `k${(last += 1)}`;
      this.#connection.run(`ALTER TABLE ${name} ADD COLUMN ${column} NOT NULL DEFAULT -9e999`);
      this.#connection.run("INSERT INTO paths VALUES (?, ?, ?, 0)", [collection, path, column]);
      return path;
    });
    const table = this.#load(collection);
    table.backfill(table.columns.filter(({ path }) => added.includes(path)));
  }

  #columns(collection: string): Column[] {
    const sql = "SELECT path, name, wild FROM paths WHERE collection = ?";
    const rows = this.#connection.rows(sql, [collection]) as [string, string, number][];
    return rows.map(([path, name, wild]) => ({ path, parts: path.split("."), name, wild: wild === 1 }));
  }

  #declared(collection: string): Declared[] {
    const sql = "SELECT indexes FROM collections WHERE name = ?";
    const [row] = this.#connection.rows(sql, [collection]) as [Uint8Array][];
    return row ? deserialize<{ indexes: Declared[] }>(row[0]).indexes : [];
  }

  #load(collection: string): Table {
    const columns = this.#columns(collection);
    const names = new Map(columns.map(({ path, name }) => [path, name]));
    const columnOf = (path: string) => (path === "_id" ? "id" : names.get(path));
    const indexes = this.#declared(collection).map(
      ({ name, key, unique, partialFilterExpression, expireAfterSeconds }): Index => {
        const conditions = conditionsOf(partialFilterExpression, name);
        return { name, key, unique, conditions, where: partialSql(conditions, columnOf), expireAfterSeconds };
      },
    );
    const table = new Table(this.#connection, collection, columns, indexes);
    this.#tables.set(collection, table);
    return table;
  }
}

/** Makes the store's own tables. Throws FAILED_PRECONDITION for a file that a newer version wrote. */
export function prepareFile(connection: Connection): void {
  const [version] = connection.rows("PRAGMA user_version")[0] as [number];
  if (version > FORMAT) {
    throw failedPrecondition(`DATA_DIR: the store was written by a newer version (format ${version}, not ${FORMAT})`);
  }
  connection.database.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY COLLATE NOCASE, indexes BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS paths (
      collection TEXT, path TEXT, name TEXT NOT NULL, wild INTEGER NOT NULL, PRIMARY KEY (collection, path)
    ) WITHOUT ROWID;
    PRAGMA user_version = ${FORMAT};
    COMMIT;
  `);
}

/** The paths that the index needs columns for. */
function pathsOf({ name, key, partialFilterExpression }: Declared): string[] {
  const conditions = conditionsOf(partialFilterExpression, name);
  const paths = [...Object.keys(key), ...conditions.map((condition) => condition.path)];
  return paths.filter((path) => path !== "_id");
}

/** What SQLite keeps of the index; the time to live is not part of it. */
function indexBytes({ expireAfterSeconds: _, ...index }: Declared): Uint8Array {
  return serialize(index);
}

function normalize(description: IndexDescription): Declared {
  const entries = Object.entries(
    description.key instanceof Map ? Object.fromEntries(description.key) : description.key,
  );
  const name = description.name ?? entries.map(([path, direction]) => `${path}_${String(direction)}`).join("_");
  const key: Sort = {};
  for (const [path, direction] of entries as [string, unknown][]) {
    if (direction !== 1 && direction !== -1) throw invalidArgument(`index ${name}`, `${path}: must be 1 or -1`);
    if (path.split(".").some((part) => part === "" || /^\d+$/.test(part))) {
      throw invalidArgument(`index ${name}`, `${path}: is not a path of fields`);
    }
    key[path] = direction;
  }
  const { unique = false, partialFilterExpression = {}, expireAfterSeconds } = description;
  return { name, key, unique, partialFilterExpression, expireAfterSeconds };
}

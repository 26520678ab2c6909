import type { StatementSync } from "node:sqlite";
import { DatabaseSync, constants } from "node:sqlite";
import { setImmediate as turn } from "node:timers/promises";
import { failedPrecondition, LongshoreError, unavailable } from "../../errors.ts";
import type { RowSource } from "../../sources/row-source.ts";
import type { Row } from "../../tabular/table.ts";
import { batchSource, columnsOf, ROWS_PER_BATCH } from "../batches.ts";
import type { Database, Selection, TableColumn, TableWriter, Writing } from "../database.ts";
import type { SqliteFile } from "../dsn.ts";
import { refusedByDatabase } from "../link.ts";
import type { DatabaseOptions } from "../database.ts";
import type { KnownTable } from "../selection.ts";
import { composeSelect, noSuchTable, quoter } from "../selection.ts";
import { finishCell, typeOf } from "./cells.ts";

export const quote = quoter('"');

/** What reading does; `ATTACH` would open other files, and some pragmas change them. */
const READING = new Set([
  constants.SQLITE_SELECT,
  constants.SQLITE_READ,
  constants.SQLITE_FUNCTION,
  constants.SQLITE_RECURSIVE,
]);

/**
 * Opens a file of SQLite, which must be there. SQLite runs on the thread of its caller: the signal and the time are looked at
 * between rows only, and a statement that answers none for long is not stopped before it does.
 */
export async function openSqlite({ path }: SqliteFile, options: DatabaseOptions): Promise<Database> {
  try {
    // All but writers: a file that is not there would be made.
    const database = new DatabaseSync(path, { readOnly: true, timeout: options.connectTimeoutMs });
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
    return new SqliteDatabase(database, path, options);
  } catch (error) {
    throw explained(error);
  }
}

class SqliteDatabase implements Database {
  readonly dialect = "sqlite";
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #options: DatabaseOptions;
  readonly #onAbort = () => void this.close();

  constructor(database: DatabaseSync, path: string, options: DatabaseOptions) {
    this.#database = database;
    this.#path = path;
    this.#options = options;
    options.signal.addEventListener("abort", this.#onAbort);
  }

  async tables(): Promise<string[]> {
    const found = this.#ask(
      "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    );
    return found.map(([name]) => name as string).toSorted();
  }

  async columns(table: string): Promise<TableColumn[]> {
    return [...this.#known(table).columns];
  }

  async createStatement(table: string): Promise<string> {
    this.#known(table);
    const found = this.#ask(
      "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL AND type IN ('table', 'view', 'index') ORDER BY type = 'index', name",
      table,
    );
    return found.map(([sql]) => `${sql as string};`).join("\n");
  }

  /** SQLite does not say; the statement is prepared, so that it refuses what is wrong. */
  async estimate(selection: Selection): Promise<undefined> {
    this.#prepare(this.#statement(selection));
    return undefined;
  }

  async rows(selection: Selection): Promise<RowSource> {
    const statement = this.#prepare(this.#statement(selection));
    const found = statement.columns();
    if (found.length === 0) throw refusedByDatabase("the statement has no rows to answer");
    statement.setReturnArrays(true);
    statement.setReadBigInts(true);
    const columns = columnsOf(found.map(({ name, type }) => ({ name, type: typeOf(type) })));
    const rows = statement.iterate() as unknown as Iterator<Row>;
    const close = async () => {
      if (this.#database.isOpen) rows.return?.();
    };
    return batchSource(columns, this.#batches(rows), close);
  }

  async writer(writing: Writing): Promise<TableWriter> {
    if (this.#options.readOnly) throw failedPrecondition("the database was opened to be read");
    const { openWriter } = await import("./writer.ts");
    return openWriter(this.#path, this.#known(writing.table), writing, this.#options);
  }

  async close(): Promise<void> {
    this.#options.signal.removeEventListener("abort", this.#onAbort);
    if (this.#database.isOpen) this.#database.close();
  }

  async *#batches(rows: Iterator<Row>): AsyncGenerator<readonly Row[]> {
    const { signal, statementTimeoutMs } = this.#options;
    const deadline = performance.now() + statementTimeoutMs;
    for (;;) {
      const batch = nextBatch(rows, signal);
      if (batch.length > 0) yield batch;
      if (batch.length < ROWS_PER_BATCH) return;
      // Nothing else lets this thread hear of the signal.
      await turn();
      if (performance.now() > deadline)
        throw new LongshoreError("DEADLINE_EXCEEDED", `the statement took longer than ${statementTimeoutMs / 1_000} s`);
    }
  }

  #known(table: string): KnownTable {
    const found = this.#ask(
      `SELECT x.name, x.type, x."notnull", x.dflt_value, x.pk FROM sqlite_schema s, pragma_table_xinfo(s.name) x
       WHERE s.name = ? AND s.type IN ('table', 'view') AND x.hidden <> 1 ORDER BY x.cid`,
      table,
    );
    if (found.length === 0) throw noSuchTable(table);
    const columns = found.map(([name, type, notNull, standard, key]): TableColumn => ({
      name: name as string,
      type: type as string,
      nullable: notNull === 0,
      ...(standard === null ? {} : { default: standard as string }),
      key: key === 0 ? "" : "PRI",
    }));
    return { sql: quote(table), columns };
  }

  #statement(selection: Selection): string {
    if ("statement" in selection) return selection.statement;
    return composeSelect(this.#known(selection.table), selection, quote);
  }

  #ask(sql: string, ...values: string[]): unknown[][] {
    this.#options.signal.throwIfAborted();
    try {
      const statement = this.#database.prepare(sql);
      statement.setReturnArrays(true);
      return statement.all(...values) as unknown as unknown[][];
    } catch (error) {
      throw explained(error);
    }
  }

  /** Prepares a statement of a user, which SQLite refuses where it does more than read. */
  #prepare(sql: string): StatementSync {
    this.#options.signal.throwIfAborted();
    try {
      // Node 22 has none: there the file alone cannot be written.
      this.#database.setAuthorizer?.((action) => (READING.has(action) ? constants.SQLITE_OK : constants.SQLITE_DENY));
      return this.#database.prepare(sql);
    } catch (error) {
      throw explained(error);
    } finally {
      this.#database.setAuthorizer?.(null);
    }
  }
}

function nextBatch(rows: Iterator<Row>, signal: AbortSignal): Row[] {
  const batch: Row[] = [];
  signal.throwIfAborted();
  try {
    while (batch.length < ROWS_PER_BATCH) {
      const next = rows.next();
      if (next.done) break;
      const cells = next.value as unknown[];
      for (let column = 0; column < cells.length; column++) cells[column] = finishCell(cells[column]);
      batch.push(cells as Row);
    }
  } catch (error) {
    throw explained(error);
  }
  return batch;
}

const SQLITE_BUSY = 5;
const SQLITE_INTERRUPT = 9;

/** An error of SQLite in our terms; others as they are. */
export function explained(error: unknown): unknown {
  if (error instanceof LongshoreError) return error;
  const { code, errcode, message } = error as Error & { code?: string; errcode?: number };
  if (code === "ERR_INVALID_STATE") return unavailable("the database was closed");
  if (code !== "ERR_SQLITE_ERROR") return error;
  const primary = (errcode ?? 0) & 0xff;
  if (primary === SQLITE_BUSY || primary === SQLITE_INTERRUPT) return unavailable(message);
  return refusedByDatabase(message);
}

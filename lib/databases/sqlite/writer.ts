import type { SQLInputValue, StatementSync } from "node:sqlite";
import { DatabaseSync } from "node:sqlite";
import type { Cell, Row } from "../../tabular/table.ts";
import { objectText } from "../../tabular/table.ts";
import type { RefusedRow, TableColumn, TableWriter, Writing } from "../database.ts";
import type { DatabaseOptions } from "../database.ts";
import { bytesOf } from "../refused-rows.ts";
import type { KnownTable } from "../selection.ts";
import { chosenColumns } from "../selection.ts";
import { explained, quote } from "./database.ts";

/** SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH. */
const ROW_FAULTS = new Set([18, 19, 20]);

/** Opens a writer of its own connection; a dry run is one transaction, which is never committed. */
export function openWriter(path: string, table: KnownTable, writing: Writing, options: DatabaseOptions): TableWriter {
  const columns = chosenColumns(table, writing.columns);
  const names = columns.map(({ name }) => quote(name));
  const database = new DatabaseSync(path, { timeout: options.connectTimeoutMs });
  try {
    const values = names.map(() => "?").join(", ");
    const insert = database.prepare(
      `INSERT INTO ${table.sql} (${names.join(", ")}) VALUES (${values})${conflictClause(names, writing.onConflict)}`,
    );
    return new SqliteWriter(database, insert, columns, { dryRun: writing.dryRun, signal: options.signal });
  } catch (error) {
    database.close();
    throw explained(error);
  }
}

function conflictClause(names: readonly string[], onConflict: Writing["onConflict"]): string {
  switch (onConflict) {
    case "fail":
      return "";
    case "skip":
      return " ON CONFLICT DO NOTHING";
    case "replace":
      return ` ON CONFLICT DO UPDATE SET ${names.map((name) => `${name} = excluded.${name}`).join(", ")}`;
  }
}

class SqliteWriter implements TableWriter {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #columns: readonly TableColumn[];
  readonly #dryRun: boolean;
  readonly #signal: AbortSignal;

  constructor(
    database: DatabaseSync,
    insert: StatementSync,
    columns: readonly TableColumn[],
    { dryRun, signal }: { dryRun: boolean; signal: AbortSignal },
  ) {
    this.#database = database;
    this.#insert = insert;
    this.#columns = columns;
    this.#dryRun = dryRun;
    this.#signal = signal;
    if (dryRun) database.exec("BEGIN IMMEDIATE");
  }

  async write(rows: readonly Row[]) {
    this.#signal.throwIfAborted();
    try {
      if (!this.#dryRun) this.#database.exec("BEGIN IMMEDIATE");
      const result = this.#writeEach(rows);
      if (!this.#dryRun) this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      if (!this.#dryRun && this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw explained(error);
    }
  }

  async close(): Promise<void> {
    // What is not committed is rolled back.
    if (this.#database.isOpen) this.#database.close();
  }

  /** A row that is refused leaves nothing behind, without a savepoint. */
  #writeEach(rows: readonly Row[]) {
    const refused: RefusedRow[] = [];
    let written = 0;
    rows.forEach((row, index) => {
      try {
        const values = this.#columns.map((column, place) => inputValue(row[place], column));
        written += Number(this.#insert.run(...values).changes);
      } catch (error) {
        const { errcode, message } = error as Error & { errcode?: number };
        if (!ROW_FAULTS.has((errcode ?? 0) & 0xff)) throw error;
        refused.push({ index, reason: message });
      }
    });
    return { written, skipped: rows.length - written - refused.length, refused };
  }
}

function inputValue(cell: Cell, { type }: TableColumn): SQLInputValue {
  if (typeof cell === "string") return (/blob/i.test(type) ? bytesOf(cell) : undefined) ?? cell;
  if (cell === null || cell === undefined) return null;
  if (typeof cell === "boolean") return cell ? 1 : 0;
  return typeof cell === "object" ? objectText(cell) : cell;
}

import { failedPrecondition } from "../../errors.ts";
import type { RowSource } from "../../sources/row-source.ts";
import type { Database, Selection, TableColumn, TableWriter, Writing } from "../database.ts";
import type { DatabaseOptions } from "../database.ts";
import type { KnownTable } from "../selection.ts";
import { composeSelect, noSuchTable } from "../selection.ts";
import { expectedRows } from "./estimate.ts";
import { readRows } from "./rows.ts";
import type { MysqlSource, Session } from "./session.ts";
import { ask, connect, quote } from "./session.ts";

/** What a statement means must not hang on how the server is set up, and a value that does not fit is refused. */
const SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/** Of all transactions that follow: a DDL commits the one that is open, and in MariaDB then runs in the next. */
const READ_ONLY = "SET SESSION TRANSACTION READ ONLY";

/** Connects to MySQL or MariaDB; which of them it is the server tells. */
export async function openMysql(source: MysqlSource, options: DatabaseOptions): Promise<Database> {
  const session = await connect(source, options);
  try {
    const [[version]] = (await ask(session, "SELECT VERSION()")) as [[string]];
    const dialect = version.includes("MariaDB") ? "mariadb" : "mysql";
    const { statementTimeoutMs } = options;
    const seconds = Math.ceil(statementTimeoutMs / 1_000);
    const settings = [
      dialect === "mariadb"
        ? `max_statement_time = ${statementTimeoutMs / 1_000}`
        : `max_execution_time = ${statementTimeoutMs}`,
      "time_zone = '+00:00'",
      `sql_mode = '${SQL_MODE}'`,
      // The server would end a connection whose rows are read slowly.
      `net_write_timeout = ${seconds}`,
    ];
    await ask(session, `SET SESSION ${settings.join(", ")}`);
    if (options.readOnly) await ask(session, READ_ONLY);
    return new MysqlDatabase(dialect, session, source, options);
  } catch (error) {
    session.link.cut(error);
    throw error;
  }
}

class MysqlDatabase implements Database {
  readonly dialect: "mysql" | "mariadb";
  readonly #session: Session;
  readonly #source: MysqlSource;
  readonly #options: DatabaseOptions;
  readonly #end: Promise<void>;
  #quitting = false;
  #reading = false;

  constructor(dialect: "mysql" | "mariadb", session: Session, source: MysqlSource, options: DatabaseOptions) {
    this.dialect = dialect;
    this.#session = session;
    this.#source = source;
    this.#options = options;
    // The server itself sees that a client is gone only when it writes to it.
    this.#end = session.link.end.then(() => (this.#quitting ? undefined : this.#kill("CONNECTION")));
  }

  async tables(): Promise<string[]> {
    const found = await ask(
      this.#session,
      "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'SEQUENCE'",
    );
    return found.map(([name]) => name as string).toSorted();
  }

  async columns(table: string): Promise<TableColumn[]> {
    return [...(await this.#known(table)).columns];
  }

  async createStatement(table: string): Promise<string> {
    const { sql } = await this.#known(table);
    const [[, statement] = []] = await ask(this.#session, `SHOW CREATE TABLE ${sql}`);
    return statement as string;
  }

  async estimate(selection: Selection): Promise<number | undefined> {
    const statement = await this.#statement(selection);
    await this.#begin();
    try {
      return await expectedRows(this.#session, statement);
    } finally {
      await this.#session.link.tidy(() => this.#rollback());
    }
  }

  async rows(selection: Selection): Promise<RowSource> {
    if (this.#reading) throw failedPrecondition("the rows that were asked for before are still being read");
    const statement = await this.#statement(selection);
    await this.#begin();
    this.#reading = true;
    return readRows(this.#session, statement, {
      stop: () => this.#kill("QUERY"),
      close: async () => {
        this.#reading = false;
        await this.#rollback();
      },
    });
  }

  async writer(writing: Writing): Promise<TableWriter> {
    if (this.#options.readOnly) throw failedPrecondition("the database was opened to be read");
    const { openWriter } = await import("./writer.ts");
    return openWriter(this.#session, await this.#known(writing.table), writing);
  }

  async close(): Promise<void> {
    if (!this.#reading && !this.#session.link.busy) {
      this.#quitting = true;
      const { connection, link } = this.#session;
      await link.wait(() => new Promise<void>((resolve) => connection.end(() => resolve()))).catch(() => undefined);
    }
    this.#session.link.cut(failedPrecondition("the database was closed"));
    await this.#end;
  }

  async #known(table: string): Promise<KnownTable> {
    const found = await ask(
      this.#session,
      `SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_KEY, COLUMN_COMMENT
       FROM information_schema.COLUMNS
       WHERE (TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?) OR CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) = ?
       ORDER BY TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? DESC, TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION`,
      [table, table, table],
    );
    const rows = found as (string | null)[][];
    const [first] = rows;
    if (!first) throw noSuchTable(table);
    const own = rows.filter(([schema, name]) => schema === first[0] && name === first[1]);
    const columns = own.map(([, , name, type, nullable, standard, key, comment]): TableColumn => {
      // MariaDB tells defaults as SQL, so that of a column without one is NULL.
      const hasDefault = standard !== null && !(this.dialect === "mariadb" && standard === "NULL");
      return {
        name: name!,
        type: type!,
        nullable: nullable === "YES",
        ...(hasDefault ? { default: standard! } : {}),
        key: key === "PRI" ? "PRI" : "",
        ...(comment ? { comment } : {}),
      };
    });
    return { sql: `${quote(first[0]!)}.${quote(first[1]!)}`, columns };
  }

  async #statement(selection: Selection): Promise<string> {
    if ("statement" in selection) return selection.statement;
    return composeSelect(await this.#known(selection.table), selection, quote);
  }

  async #begin(): Promise<void> {
    if (!this.#options.readOnly) await ask(this.#session, READ_ONLY);
    await ask(this.#session, "START TRANSACTION READ ONLY");
  }

  async #rollback(): Promise<void> {
    await ask(this.#session, "ROLLBACK");
    if (!this.#options.readOnly) await ask(this.#session, "SET SESSION TRANSACTION READ WRITE");
  }

  /** Ends what the session runs, or the session, over another one; where that cannot be, the session's own is cut. */
  async #kill(what: "QUERY" | "CONNECTION"): Promise<void> {
    const { link, connection } = this.#session;
    try {
      const other = await connect(this.#source, { ...this.#options, signal: new AbortController().signal });
      try {
        await ask(other, `KILL ${what} ${connection.threadId}`);
      } finally {
        other.link.cut(undefined);
      }
    } catch (error) {
      link.cut(error);
    }
  }
}

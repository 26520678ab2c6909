import { failedPrecondition } from "../../errors.ts";
import type { RowSource } from "../../sources/row-source.ts";
import type { Database, Selection, TableColumn, TableWriter, Writing } from "../database.ts";
import { refusedByDatabase } from "../link.ts";
import type { DatabaseOptions } from "../database.ts";
import { composeSelect } from "../selection.ts";
import { findTable, readableTables } from "./catalogue.ts";
import { readRows } from "./rows.ts";
import type { PostgresSource, Session } from "./session.ts";
import { ask, askAsOne, cancel, connect, quote } from "./session.ts";

export async function openPostgres(source: PostgresSource, options: DatabaseOptions): Promise<Database> {
  const session = await connect(source, options);
  try {
    // What a text looks like must not hang on how the server is set up.
    const settings = {
      statement_timeout: options.statementTimeoutMs,
      timezone: "UTC",
      datestyle: "ISO, YMD",
      intervalstyle: "postgres",
      bytea_output: "hex",
      extra_float_digits: 3,
      standard_conforming_strings: "on",
      default_transaction_read_only: options.readOnly ? "on" : "off",
    };
    await ask(
      session,
      Object.entries(settings)
        .map(([name, value]) => `SET ${name} = '${value}'`)
        .join("; "),
    );
    return new PostgresDatabase(session, source, options);
  } catch (error) {
    session.link.cut(error);
    throw error;
  }
}

class PostgresDatabase implements Database {
  readonly dialect = "postgresql";
  readonly #session: Session;
  readonly #options: DatabaseOptions;
  readonly #cancel: () => Promise<void>;
  readonly #end: Promise<void>;
  #quitting = false;
  #reading = false;

  constructor(session: Session, source: PostgresSource, options: DatabaseOptions) {
    this.#session = session;
    this.#options = options;
    this.#cancel = () => cancel(session, source, options);
    // The server itself sees that a client is gone only when it writes to it.
    this.#end = session.link.end.then(() => (this.#quitting ? undefined : this.#cancel()));
  }

  tables(): Promise<string[]> {
    return readableTables(this.#session);
  }

  async columns(table: string): Promise<TableColumn[]> {
    return [...(await findTable(this.#session, table)).columns];
  }

  async createStatement(table: string): Promise<string> {
    const { createStatement } = await import("./create-statement.ts");
    return createStatement(this.#session, await findTable(this.#session, table));
  }

  async estimate(selection: Selection): Promise<number | undefined> {
    const statement = await this.#statement(selection);
    await ask(this.#session, "BEGIN READ ONLY");
    try {
      const [[text] = []] = await askAsOne(this.#session, `EXPLAIN (FORMAT JSON) ${statement}`);
      // EXPLAIN itself writes nothing, so it takes what the transaction would refuse.
      if (text!.includes('"Node Type": "ModifyTable"')) throw refusedByDatabase("the statement writes");
      const [{ Plan: plan }] = JSON.parse(text!) as [{ Plan: { "Plan Rows": number } }];
      return plan["Plan Rows"];
    } finally {
      await this.#session.link.tidy(() => this.#rollback());
    }
  }

  async rows(selection: Selection): Promise<RowSource> {
    if (this.#reading) throw failedPrecondition("the rows that were asked for before are still being read");
    const statement = await this.#statement(selection);
    await ask(this.#session, "BEGIN READ ONLY");
    this.#reading = true;
    return readRows(this.#session, statement, {
      stop: this.#cancel,
      close: async () => {
        this.#reading = false;
        await this.#rollback();
      },
    });
  }

  async writer(writing: Writing): Promise<TableWriter> {
    if (this.#options.readOnly) throw failedPrecondition("the database was opened to be read");
    const { openWriter } = await import("./writer.ts");
    return openWriter(this.#session, await findTable(this.#session, writing.table), writing);
  }

  async close(): Promise<void> {
    const { client, link } = this.#session;
    if (!this.#reading && !link.busy) {
      this.#quitting = true;
      await link.wait(() => client.end()).catch(() => undefined);
    }
    link.cut(failedPrecondition("the database was closed"));
    await this.#end;
  }

  async #rollback(): Promise<void> {
    await ask(this.#session, "ROLLBACK");
  }

  async #statement(selection: Selection): Promise<string> {
    if ("statement" in selection) return selection.statement;
    return composeSelect(await findTable(this.#session, selection.table), selection, quote);
  }
}

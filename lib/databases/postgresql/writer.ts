import pg from "pg";
import { failedPrecondition } from "../../errors.ts";
import type { Row } from "../../tabular/table.ts";
import type { TableWriter, Writing } from "../database.ts";
import type { RowFault, Taken } from "../refused-rows.ts";
import { writeTakeable } from "../refused-rows.ts";
import { chosenColumns } from "../selection.ts";
import type { PostgresTable } from "./catalogue.ts";
import { copyIn, copyText } from "./copy.ts";
import type { Session } from "./session.ts";
import { ask, explained, quote } from "./session.ts";

/** Where rows wait that may meet others of their key: COPY alone knows no ON CONFLICT. */
const STAGE = "pg_temp.longshore_stage";

/** Data exceptions, integrity constraints, errors that triggers raise, two rows of one key in a statement, a row too large. */
const ROW_FAULTS = /^(?:22|23|P0|21000|54000)/;

/** Opens a writer that COPYs; a dry run is one transaction, which is never committed. */
export async function openWriter(session: Session, table: PostgresTable, writing: Writing): Promise<TableWriter> {
  const columns = chosenColumns(table, writing.columns).map(({ name }) => quote(name));
  const list = columns.join(", ");
  const conflict = await conflictClause(session, table, columns, writing.onConflict);
  if (conflict !== undefined)
    await ask(
      session,
      `CREATE TEMP TABLE longshore_stage ON COMMIT DELETE ROWS AS SELECT ${list} FROM ${table.sql} WITH NO DATA`,
    );
  const writer = new PostgresWriter(session, {
    columns: columns.length,
    copy: `COPY ${conflict === undefined ? table.sql : STAGE} (${list}) FROM STDIN`,
    insert:
      conflict === undefined
        ? undefined
        : `INSERT INTO ${table.sql} (${list}) SELECT ${list} FROM ${STAGE} ${conflict}`,
    dryRun: writing.dryRun,
  });
  if (writing.dryRun) await ask(session, BEGIN);
  return writer;
}

/** A constraint that waits for the commit would fail all of a batch. */
const BEGIN = "BEGIN; SET CONSTRAINTS ALL IMMEDIATE";

interface Statements {
  columns: number;
  copy: string;
  /** Moves what is staged into the table. */
  insert: string | undefined;
  dryRun: boolean;
}

class PostgresWriter implements TableWriter {
  readonly #session: Session;
  readonly #statements: Statements;

  constructor(session: Session, statements: Statements) {
    this.#session = session;
    this.#statements = statements;
  }

  async write(rows: readonly Row[]) {
    const { dryRun } = this.#statements;
    if (!dryRun) await ask(this.#session, BEGIN);
    try {
      const result = await writeTakeable(rows, (some) => this.#attempt(some), faultOf);
      if (!dryRun) await ask(this.#session, "COMMIT");
      return result;
    } catch (error) {
      if (!dryRun) await this.#session.link.tidy(async () => void (await ask(this.#session, "ROLLBACK")));
      throw explained(error);
    }
  }

  async close(): Promise<void> {
    const { dryRun, insert } = this.#statements;
    await this.#session.link.tidy(async () => {
      if (dryRun) await ask(this.#session, "ROLLBACK");
      if (insert !== undefined) await ask(this.#session, `DROP TABLE ${STAGE}`);
    });
  }

  async #attempt(rows: readonly Row[]): Promise<Taken> {
    const { client, link } = this.#session;
    const { columns, copy, insert } = this.#statements;
    const run = (text: string) => link.wait(() => client.query(text));
    await run("SAVEPOINT batch");
    try {
      await copyIn(this.#session, copy, copyText(rows, columns));
      let written = rows.length;
      if (insert !== undefined) {
        written = (await run(insert)).rowCount!;
        await run(`DELETE FROM ${STAGE}`);
      }
      await run("RELEASE SAVEPOINT batch");
      return { written, skipped: rows.length - written };
    } catch (error) {
      if (faultOf(error)) await run("ROLLBACK TO SAVEPOINT batch");
      throw error;
    }
  }
}

function faultOf(error: unknown): RowFault | undefined {
  if (!(error instanceof pg.DatabaseError) || !ROW_FAULTS.test(error.code ?? "")) return undefined;
  const { message, detail, where } = error;
  const column = /^COPY [^\n]*, line \d+, column ([^:\n]+)/.exec(where ?? "")?.[1];
  const line = /^COPY [^\n]*, line (\d+)/m.exec(where ?? "")?.[1];
  const reason = [column === undefined ? message : `${column}: ${message}`, detail].filter(Boolean).join(": ");
  return { reason, ...(line === undefined ? {} : { index: Number(line) - 1 }) };
}

async function conflictClause(
  session: Session,
  table: PostgresTable,
  columns: readonly string[],
  onConflict: Writing["onConflict"],
): Promise<string | undefined> {
  if (onConflict === "fail") return undefined;
  if (onConflict === "skip") return "ON CONFLICT DO NOTHING";
  const key = await ask(
    session,
    `SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place), pg_attribute a
     WHERE i.indrelid = $1::oid AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.place`,
    [table.oid],
  );
  if (key.length === 0)
    throw failedPrecondition(`the table ${table.name} has no primary key by which rows could be replaced`);
  const assignments = columns.map((column) => `${column} = EXCLUDED.${column}`);
  return `ON CONFLICT (${key.map(([name]) => quote(name!)).join(", ")}) DO UPDATE SET ${assignments.join(", ")}`;
}

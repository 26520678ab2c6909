import type { QueryError, ResultSetHeader } from "mysql2";
import { LongshoreError } from "../../errors.ts";
import type { Cell, Row } from "../../tabular/table.ts";
import { objectText } from "../../tabular/table.ts";
import type { TableColumn, TableWriter, Writing } from "../database.ts";
import type { RowFault, Taken } from "../refused-rows.ts";
import { bytesOf, writeTakeable } from "../refused-rows.ts";
import type { KnownTable } from "../selection.ts";
import { chosenColumns } from "../selection.ts";
import type { Session } from "./session.ts";
import { ask, explained, quote } from "./session.ts";

const BYTES =
  /^(?:(?:tiny|medium|long)?blob|(?:var)?binary|bit|geometry|point|linestring|polygon|multi|geomcollection)/i;

/** Data exceptions, integrity constraints, what triggers raise. */
const ROW_STATES = /^(?:22|23|45)/;
/** Those about a value that have the state of a general error: truncated, incorrect, a check that fails. */
const ROW_ERRORS = new Set([1265, 1366, 1411, 3819]);

/** A statement has a part of what the server takes at once, because that is memory here and there. */
const MAX_STATEMENT_CHARACTERS = 1_000_000;

/** Opens a writer of many rows a statement; a dry run is one transaction, which is never committed. */
export async function openWriter(session: Session, table: KnownTable, writing: Writing): Promise<TableWriter> {
  const columns = chosenColumns(table, writing.columns);
  const [[packet]] = (await ask(session, "SELECT @@max_allowed_packet")) as [[string]];
  const writer = new MysqlWriter(session, {
    insert: `INSERT INTO ${table.sql} (${columns.map(({ name }) => quote(name)).join(", ")}) VALUES `,
    conflict: conflictClause(columns, writing.onConflict),
    literals: columns.map(({ type }) => (BYTES.test(type) ? bytesLiteral : literal)),
    countsSkipped: writing.onConflict === "skip",
    // A character is up to 3 bytes, and the statement's own are few.
    maxCharacters: Math.min(MAX_STATEMENT_CHARACTERS, Math.floor(Number(packet) / 4)),
    dryRun: writing.dryRun,
  });
  if (writing.dryRun) await ask(session, "START TRANSACTION");
  return writer;
}

function conflictClause(columns: readonly TableColumn[], onConflict: Writing["onConflict"]): string {
  const names = columns.map(({ name }) => quote(name));
  switch (onConflict) {
    case "fail":
      return "";
    case "skip":
      // Unlike INSERT IGNORE this lets no other error pass.
      return ` ON DUPLICATE KEY UPDATE ${names[0]} = ${names[0]}`;
    case "replace":
      return ` ON DUPLICATE KEY UPDATE ${names.map((name) => `${name} = VALUES(${name})`).join(", ")}`;
  }
}

interface Plan {
  insert: string;
  conflict: string;
  literals: readonly ((cell: Cell) => string)[];
  countsSkipped: boolean;
  maxCharacters: number;
  dryRun: boolean;
}

class MysqlWriter implements TableWriter {
  readonly #session: Session;
  readonly #plan: Plan;

  constructor(session: Session, plan: Plan) {
    this.#session = session;
    this.#plan = plan;
  }

  async write(rows: readonly Row[]) {
    const { dryRun } = this.#plan;
    if (!dryRun) await this.#run("START TRANSACTION");
    try {
      const result = await writeTakeable(rows, (some) => this.#attempt(some), faultOf);
      if (!dryRun) await this.#run("COMMIT");
      return result;
    } catch (error) {
      if (!dryRun) await this.#session.link.tidy(async () => void (await this.#run("ROLLBACK")));
      throw explained(error);
    }
  }

  async close(): Promise<void> {
    if (this.#plan.dryRun) await this.#session.link.tidy(async () => void (await this.#run("ROLLBACK")));
  }

  async #attempt(rows: readonly Row[]): Promise<Taken> {
    await this.#run("SAVEPOINT batch");
    try {
      let affected = 0;
      for (const statement of this.#statements(rows)) affected += (await this.#run(statement)).affectedRows;
      const written = this.#plan.countsSkipped ? affected : rows.length;
      return { written, skipped: rows.length - written };
    } catch (error) {
      if (faultOf(error)) await this.#run("ROLLBACK TO SAVEPOINT batch");
      throw error;
    }
  }

  *#statements(rows: readonly Row[]): Generator<string> {
    const { insert, conflict, literals, maxCharacters } = this.#plan;
    let values = "";
    for (const row of rows) {
      let cells = "";
      for (let column = 0; column < literals.length; column++) {
        if (column > 0) cells += ",";
        cells += literals[column]!(row[column]);
      }
      if (values !== "" && values.length + cells.length > maxCharacters) {
        yield insert + values + conflict;
        values = "";
      }
      values += values === "" ? `(${cells})` : `,(${cells})`;
    }
    yield insert + values + conflict;
  }

  /** With the driver's own errors. */
  #run(sql: string): Promise<ResultSetHeader> {
    const { connection, link } = this.#session;
    return link.wait(
      () =>
        new Promise((resolve, reject) => {
          connection.query<ResultSetHeader>(sql, (error, result) => (error ? reject(error) : resolve(result)));
        }),
    );
  }
}

function faultOf(error: unknown): RowFault | undefined {
  if (error instanceof LongshoreError || !(error instanceof Error)) return undefined;
  const { errno, sqlState, sqlMessage } = error as Partial<QueryError> & { sqlMessage?: string };
  if (sqlMessage === undefined || !(ROW_STATES.test(sqlState ?? "") || ROW_ERRORS.has(errno ?? 0))) return undefined;
  // The row that it counts is that of a statement, and bad ones are few.
  return { reason: sqlMessage.replace(/ at row \d+$/, "") };
}

const SPECIAL = /['\\]/g;

function literal(cell: Cell): string {
  if (typeof cell === "string") return quoted(cell);
  if (cell === null || cell === undefined) return "NULL";
  if (typeof cell === "boolean") return cell ? "1" : "0";
  if (typeof cell === "bigint" || (typeof cell === "number" && Number.isFinite(cell))) return String(cell);
  if (typeof cell === "number") return quoted(String(cell));
  // Without the T and the Z, which not every version reads.
  return quoted(cell instanceof Date ? objectText(cell).replace("T", " ").replace("Z", "") : objectText(cell));
}

function bytesLiteral(cell: Cell): string {
  const bytes = typeof cell === "string" ? bytesOf(cell) : undefined;
  return bytes ? `X'${bytes.toString("hex")}'` : literal(cell);
}

function quoted(text: string): string {
  return `'${text.replace(SPECIAL, "\\$&")}'`;
}

import type { OutboundPolicy } from "../sources/outbound.ts";
import type { RowSource } from "../sources/row-source.ts";
import type { Row } from "../tabular/table.ts";

/** What kinds of databases there are; MariaDB speaks MySQL's protocol and nearly its SQL. */
export type Dialect = "mysql" | "mariadb" | "postgresql" | "sqlite" | "mongodb";

/** Which rows: a read-only statement (of MongoDB an aggregation, as EJSON), or a table with what of it is wanted. */
export type Selection =
  | { statement: string }
  | {
      /** As the catalogue has it; `schema.table` where it is not in the default schema. */
      table: string;
      /** All columns where absent. */
      columns?: readonly string[];
      /** The condition of a WHERE; of MongoDB a filter, as EJSON. */
      filter?: string;
    };

/** A column as the catalogue has it. */
export interface TableColumn {
  name: string;
  /** In the database's own words: `decimal(10,2)`. */
  type: string;
  nullable: boolean;
  default?: string;
  /** `PRI`, or empty. */
  key: string;
  comment?: string;
}

/** What happens to a row of an import whose key is there already. */
export type OnConflict = "fail" | "skip" | "replace";

/** A row that was not taken, by its place in the batch, and why. */
export interface RefusedRow {
  index: number;
  reason: string;
}

export interface Writing {
  table: string;
  columns: readonly string[];
  onConflict: OnConflict;
  /** Everything but the commit. */
  dryRun: boolean;
}

/** Writes batches of rows into one table. */
export interface TableWriter {
  /** Commits those of the batch that the database takes, and answers the others. A batch is all or nothing to a crash. */
  write(rows: readonly Row[]): Promise<{ written: number; skipped: number; refused: readonly RefusedRow[] }>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  /** Ends everything, and kills on the server what still runs. */
  signal: AbortSignal;
  /** How long name resolution, connection, TLS and login may take together. */
  connectTimeoutMs: number;
  /** How long one statement may run, from its start to its last row. */
  statementTimeoutMs: number;
  /** How long a server that is waited for may send nothing: then the connection is taken for lost. */
  idleTimeoutMs: number;
  /** Judges the address that is connected to. */
  outbound: OutboundPolicy;
  /** Refuses writers, and has the database itself refuse writes. */
  readOnly: boolean;
}

/**
 * A database that is connected to. Errors: FAILED_PRECONDITION with the database's own reason where it refuses, UNAVAILABLE
 * where it cannot be reached or is lost, DEADLINE_EXCEEDED where a statement takes too long; none holds a password.
 */
export interface Database {
  readonly dialect: Dialect;
  /** Tables and views that the user can read, sorted. */
  tables(): Promise<string[]>;
  /** The columns of a table, in their order; NOT_FOUND where there is no such table. */
  columns(table: string): Promise<TableColumn[]>;
  /** The statement that makes the table, as the database tells it. */
  createStatement(table: string): Promise<string>;
  /** How many rows the planner expects; undefined where the database does not say. Refuses what it would not run. */
  estimate(selection: Selection): Promise<number | undefined>;
  /** Runs it in a read-only transaction; close the source before anything else is asked of this database. */
  rows(selection: Selection): Promise<RowSource>;
  writer(writing: Writing): Promise<TableWriter>;
  /** Ends the connection; kills on the server what still runs. Aborting the signal it was opened with does the same. */
  close(): Promise<void>;
}

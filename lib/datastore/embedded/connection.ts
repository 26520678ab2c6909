/** A connection to the embedded store's file, with a bounded cache of prepared statements. */
import { DatabaseSync } from "node:sqlite";
import type { SQLInputValue, StatementSync } from "node:sqlite";
import { LongshoreError, unavailable } from "../../errors.ts";

const MAX_STATEMENTS = 256;

/** The kinds of SQLite's failures that are of the storage, not of the statement (https://www.sqlite.org/rescode.html). */
const STORAGE_FAILURES = new Set([5, 7, 8, 10, 11, 13, 14, 26]);
const FULL = 13;

/** Columns of a row by place. */
export type Row = unknown[];

export class Connection {
  readonly database: DatabaseSync;
  /** Whether what may break off half done is guarded by a savepoint. */
  savepoints = false;
  readonly #statements = new Map<string, StatementSync>();
  #writes = 0;

  constructor(file: string, options: { readOnly: boolean; cacheKiB: number }) {
    this.database = new DatabaseSync(file, { readOnly: options.readOnly, timeout: 1_000 });
    this.database.exec(`PRAGMA cache_size = -${options.cacheKiB}; PRAGMA mmap_size = 0`);
  }

  run(sql: string, parameters: readonly SQLInputValue[] = []): number {
    const { changes } = this.#prepare(sql).run(...parameters);
    this.#writes += 1;
    return Number(changes);
  }

  rows(sql: string, parameters: readonly SQLInputValue[] = []): Row[] {
    return this.#prepare(sql).all(...parameters) as unknown as Row[];
  }

  /** Rows one by one; leaving the loop early frees the statement. No two loops may go over the same SQL at once. */
  iterate(sql: string, parameters: readonly SQLInputValue[] = []): IterableIterator<Row> {
    return this.#prepare(sql).iterate(...parameters) as unknown as IterableIterator<Row>;
  }

  /** Pages in the write-ahead log. */
  logPages(): number {
    const [[, log]] = this.rows("PRAGMA wal_checkpoint(NOOP)") as [[number, number, number]];
    return log;
  }

  /** Moves the log into the file, as far as no snapshot needs it. */
  checkpoint(): void {
    this.rows("PRAGMA wal_checkpoint(PASSIVE)");
  }

  get inTransaction(): boolean {
    return this.database.isTransaction;
  }

  /**
   * Does all of the work or, where it throws, nothing of it. Only within a transaction. A savepoint has SQLite keep a copy
   * of each page that it changes, so there is none at first: where the work broke off half done, what is thrown says so,
   * for the whole transaction to be rolled back and done again with savepoints.
   */
  atomically<T>(work: () => T): T {
    if (this.savepoints) return this.#withSavepoint(work);
    const before = this.#writes;
    try {
      return work();
    } catch (error) {
      if (this.#writes === before || isStorageFailure(error)) throw error;
      throw new HalfDone("a write broke off half done", { cause: error });
    }
  }

  #withSavepoint<T>(work: () => T): T {
    this.run("SAVEPOINT operation");
    try {
      const result = work();
      this.run("RELEASE operation");
      return result;
    } catch (error) {
      // A storage failure may have ended the transaction, and with it the savepoint.
      if (this.inTransaction) {
        this.run("ROLLBACK TO operation");
        this.run("RELEASE operation");
      }
      throw error;
    }
  }

  close(): void {
    this.#statements.clear();
    this.database.close();
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known) {
      this.#statements.delete(sql);
      this.#statements.set(sql, known);
      return known;
    }
    const statement = this.database.prepare(sql);
    statement.setReturnArrays(true);
    this.#statements.set(sql, statement);
    if (this.#statements.size > MAX_STATEMENTS) {
      const [oldest] = this.#statements.keys();
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    return statement;
  }
}

/** The transaction holds a part of a write. */
export class HalfDone extends Error {}

/** The extended result code of an SQLite error, undefined for another error. */
export function sqliteCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" ? code : undefined;
}

export function isStorageFailure(error: unknown): boolean {
  const code = sqliteCode(error);
  return code !== undefined && STORAGE_FAILURES.has(code & 0xff);
}

/** A failure of the storage as its users know it; any other error as it is. */
export function storageError(error: unknown): unknown {
  if (!isStorageFailure(error)) return error;
  const { message } = error as Error;
  if (((sqliteCode(error) ?? 0) & 0xff) !== FULL) return unreachable(message);
  return new LongshoreError("RESOURCE_EXHAUSTED", `DATA_DIR: no space left: ${message}`);
}

export function unreachable(message: string): LongshoreError {
  return unavailable(`DATA_DIR: the store cannot be read or written: ${message}`);
}

/** An SQL name. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

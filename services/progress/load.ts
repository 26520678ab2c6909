import type { Database, TableWriter, Writing } from "../../lib/databases/database.ts";
import { failedPrecondition, LongshoreError } from "../../lib/errors.ts";
import type { JobOutcome } from "../../lib/job-thread/messages.ts";
import type { FileBatch, RefusedFileRow } from "../../lib/sources/file-rows.ts";
import type { Row } from "../../lib/tabular/table.ts";
import type { RefusedReport } from "./refused-report.ts";
import type { WorkResult } from "./work.ts";

export interface Load {
  batches: AsyncIterable<FileBatch>;
  /** What the table is given of a row. */
  rowOf: (row: Row) => Row;
  writing: Writing;
  batchRows: number;
  /** More fail the load. */
  maxRefused: number;
  report: RefusedReport;
  signal: AbortSignal;
}

/** Writes rows into a table in batches, and reports those that were refused, by their reader or by the database. */
export async function loadRows(database: Database, load: Load): Promise<JobOutcome<Omit<WorkResult, "bytes">>> {
  const writer = await database.writer(load.writing);
  const loading = new Loading(writer, load);
  try {
    await loading.all();
    const written = await load.report.finish();
    const { rows, skipped, refused } = loading.counts;
    const result = { rows, skipped, refused, unmappable: 0, truncated: 0, ...(written && { report: written.key }) };
    return { result, written: written ? [written] : [] };
  } catch (error) {
    await load.report.abandon(error as Error);
    throw loading.explain(error);
  } finally {
    await writer.close();
  }
}

class Loading {
  readonly counts = { rows: 0, skipped: 0, refused: 0 };
  readonly #writer: TableWriter;
  readonly #load: Load;
  #rows: Row[] = [];
  #numbers: number[] = [];
  #refused: RefusedFileRow[] = [];

  constructor(writer: TableWriter, load: Load) {
    this.#writer = writer;
    this.#load = load;
  }

  async all(): Promise<void> {
    const { batches, batchRows, signal } = this.#load;
    for await (const { rows, numbers, refused } of batches) {
      this.#refused.push(...refused);
      for (let from = 0; from < rows.length;) {
        const to = Math.min(rows.length, from + batchRows - this.#rows.length);
        this.#rows.push(...rows.slice(from, to));
        this.#numbers.push(...numbers.slice(from, to));
        from = to;
        if (this.#rows.length === batchRows) await this.#write();
      }
      if (this.#refused.length >= batchRows) await this.#writeAll();
      signal.throwIfAborted();
    }
    await this.#writeAll();
  }

  /** What was read so far. */
  async #writeAll(): Promise<void> {
    await this.#write();
    await this.#refuseBefore(Infinity);
  }

  async #write(): Promise<void> {
    const [rows, numbers] = [this.#rows, this.#numbers];
    if (rows.length === 0) return;
    this.#rows = [];
    this.#numbers = [];
    const taken = await this.#writer.write(rows.map(this.#load.rowOf));
    this.counts.rows += taken.written;
    this.counts.skipped += taken.skipped;
    for (const { index, reason } of taken.refused)
      this.#refused.push({ number: numbers[index]!, reason, cells: rows[index]! });
    await this.#refuseBefore(numbers.at(-1)! + 1);
  }

  /** In the order of the file: readers tell of rows that are far ahead of what is written. */
  async #refuseBefore(number: number): Promise<void> {
    const refused = this.#refused.toSorted((one, other) => one.number - other.number);
    this.#refused = refused.filter((row) => row.number >= number);
    for (const row of refused.slice(0, refused.length - this.#refused.length)) await this.#refuse(row);
  }

  async #refuse(row: RefusedFileRow): Promise<void> {
    const { maxRefused, report } = this.#load;
    this.counts.refused += 1;
    if (this.counts.refused > maxRefused) {
      const message = `more than ${maxRefused} rows were refused, the last of them row ${row.number}: ${row.reason}`;
      throw failedPrecondition(message, { reason: "TOO_MANY_REFUSED" });
    }
    await report.add(row);
  }

  /** Batches that were written stay: whoever reads of the failure must know. */
  explain(error: unknown): unknown {
    if (!(error instanceof LongshoreError) || this.#load.writing.dryRun || this.counts.rows === 0) return error;
    return new LongshoreError(error.type, `${error.message}; ${this.counts.rows} rows had been written`, error.data);
  }
}

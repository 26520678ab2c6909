import { failedPrecondition } from "../errors.ts";
import type { Column, Row } from "../tabular/table.ts";

/** A row of a file that cannot be a row of the table. */
export interface RefusedFileRow {
  /** The line that it begins on, or its number in a sheet; the header is the first. */
  number: number;
  reason: string;
  /** What it holds, as far as it could be read. */
  cells: Row;
}

export interface FileBatch {
  rows: readonly Row[];
  /** Of each row, as in RefusedFileRow. */
  numbers: readonly number[];
  refused: readonly RefusedFileRow[];
}

export interface FilePosition {
  /** Of the file as it came, packed where it is. */
  bytes: number;
  rows: number;
  refused: number;
}

/** The rows of an uploaded file. A row that is wrong is refused by itself; a file that cannot be read on ends with an error. */
export interface FileRows {
  columns: readonly Column[];
  /** In the order of the file; can be read once. Nothing is read far ahead of the reader. */
  batches: AsyncIterable<FileBatch>;
  position(): FilePosition;
  /** Frees what is held, read to its end or not. Aborting the signal it was opened with does the same. */
  close(): Promise<void>;
}

export interface FileLimits {
  /** Of one row, in bytes of the file unpacked. */
  maxRowBytes: number;
  maxColumns: number;
  /** Of the file unpacked: a few packed bytes may hold any number. */
  maxUnpackedBytes: number;
}

export const FILE_LIMITS: FileLimits = {
  maxRowBytes: 1024 * 1024,
  maxColumns: 16_384,
  maxUnpackedBytes: 16 * 1024 ** 3,
};

export interface FileOptions {
  limits?: Partial<FileLimits>;
  signal: AbortSignal;
}

/** The columns that a header of titles declares. */
export function headerColumns(titles: readonly string[], maxColumns: number): Column[] {
  if (titles.length === 0) throw failedPrecondition("the file has no header");
  if (titles.length > maxColumns) {
    throw failedPrecondition(`the header has ${titles.length} columns; at most ${maxColumns} are read`);
  }
  const known = new Set<string>();
  for (const [index, title] of titles.entries()) {
    if (title === "") throw failedPrecondition(`the header has no name for column ${index + 1}`);
    if (known.has(title)) throw failedPrecondition(`the header has the column ${JSON.stringify(title)} twice`);
    known.add(title);
  }
  return titles.map((title) => ({ key: title, title }));
}

/** Collects the rows of a batch. */
export class FileBatchBuilder {
  #rows: Row[] = [];
  #numbers: number[] = [];
  #refused: RefusedFileRow[] = [];
  rows = 0;
  refused = 0;

  add(number: number, cells: Row): void {
    this.#rows.push(cells);
    this.#numbers.push(number);
    this.rows += 1;
  }

  refuse(number: number, reason: string, cells: Row): void {
    this.#refused.push({ number, reason, cells });
    this.refused += 1;
  }

  get size(): number {
    return this.#rows.length + this.#refused.length;
  }

  take(): FileBatch {
    const batch = { rows: this.#rows, numbers: this.#numbers, refused: this.#refused };
    this.#rows = [];
    this.#numbers = [];
    this.#refused = [];
    return batch;
  }
}

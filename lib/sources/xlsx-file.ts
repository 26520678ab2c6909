import { createWriteStream } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { failedPrecondition } from "../errors.ts";
import type { Cell, Column } from "../tabular/table.ts";
import { objectText } from "../tabular/table.ts";
import { FileBytes } from "./file-bytes.ts";
import type { FileBatch, FileLimits, FileOptions, FileRows } from "./file-rows.ts";
import { FILE_LIMITS, FileBatchBuilder, headerColumns } from "./file-rows.ts";
import type { SheetRow } from "./xlsx-sheet.ts";
import { columnLetters, SheetReader } from "./xlsx-sheet.ts";
import { Workbook } from "./xlsx-workbook.ts";

export interface XlsxFileOptions extends FileOptions {
  /** Its name; the first one where absent. */
  sheet?: string;
  /** Where the file is put while it is read: a zip is read from its end. */
  directory: string;
  /** Of the texts that cells share, unpacked; they are held in memory. */
  maxSharedBytes?: number;
}

const MAX_SHARED_BYTES = 128 * 1024 * 1024;

/**
 * Opens a sheet of a workbook; its first row that is not empty is the header. Dates are Dates, in UTC; times without a day
 * are texts; formulas are their results. A row with an error, `#DIV/0!`, or a value beyond the header is refused.
 *
 * exceljs's reader of streams is not used: it writes sheets unpacked to the system's temporary directory, without a bound,
 * decodes texts twice (`&amp;lt;` becomes `<`), takes a cell's last run of rich text for all of it, and a formula's TRUE for 1.
 */
export async function openXlsxFile(content: AsyncIterable<Uint8Array>, options: XlsxFileOptions): Promise<FileRows> {
  const limits = { ...FILE_LIMITS, ...options.limits };
  const bytes = new FileBytes(content, limits.maxUnpackedBytes, options.signal);
  const directory = await mkdtemp(join(options.directory, "xlsx-"));
  let file: FileHandle | undefined;
  const close = async () => {
    await file?.close();
    file = undefined;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const path = join(directory, "workbook");
    await pipeline(Readable.from(bytes.pieces()), createWriteStream(path), { signal: options.signal });
    file = await open(path);
    const maxSharedBytes = options.maxSharedBytes ?? MAX_SHARED_BYTES;
    const workbook = await Workbook.open(file, { ...limits, maxSharedBytes }, options.signal);
    const rows = new SheetRows(limits);
    const pieces = await openSheet(workbook, options.sheet, rows, limits);
    for (let more = true; more && !rows.columns;) more = !(await pieces.next()).done;
    if (!rows.columns) throw failedPrecondition("the sheet is empty");
    return {
      columns: rows.columns,
      batches: batchesOf(pieces, rows, options.signal),
      position: () => ({ bytes: bytes.count, rows: rows.batch.rows, refused: rows.batch.refused }),
      close: async () => {
        await pieces.return(undefined);
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openSheet(
  workbook: Workbook,
  wanted: string | undefined,
  rows: SheetRows,
  limits: FileLimits,
): Promise<AsyncGenerator<void>> {
  const { sheets, from1904 } = await workbook.sheets();
  const sheet = wanted === undefined ? sheets[0] : sheets.find(({ name }) => name === wanted);
  if (!sheet) {
    const names = sheets.map(({ name }) => JSON.stringify(name)).join(", ");
    throw failedPrecondition(
      wanted === undefined ? "the workbook has no sheet" : `the workbook has only the sheets ${names}`,
    );
  }
  const context = await workbook.context(from1904);
  return workbook.scan(sheet.path, new SheetReader(context, limits.maxRowBytes, (row) => rows.add(row)));
}

async function* batchesOf(
  pieces: AsyncGenerator<void>,
  rows: SheetRows,
  signal: AbortSignal,
): AsyncGenerator<FileBatch> {
  for (let more = true; more;) {
    if (rows.batch.size > 0) yield rows.batch.take();
    signal.throwIfAborted();
    more = !(await pieces.next()).done;
  }
  if (rows.batch.size > 0) yield rows.batch.take();
}

/** Makes rows of a table of those of a sheet. */
class SheetRows {
  readonly batch = new FileBatchBuilder();
  readonly #limits: FileLimits;
  columns: Column[] | undefined;

  constructor(limits: FileLimits) {
    this.#limits = limits;
  }

  add({ number, cells, problem }: SheetRow): void {
    if (cells.length === 0 && !problem) return;
    if (!this.columns) {
      this.columns = headerColumns(cells.map(titleOf), this.#limits.maxColumns);
      return;
    }
    const width = this.columns.length;
    if (problem) {
      this.batch.refuse(number, `the cell ${columnLetters(problem.column)}${number} holds ${problem.problem}`, cells);
    } else if (cells.length > width) {
      const further = columnLetters(cells.length);
      this.batch.refuse(number, `has a value in column ${further}, where the header has none`, cells);
    } else {
      while (cells.length < width) cells.push(null);
      this.batch.add(number, cells);
    }
  }
}

function titleOf(cell: Cell): string {
  if (cell === null || cell === undefined) return "";
  return typeof cell === "object" ? objectText(cell) : String(cell);
}

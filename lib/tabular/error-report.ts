import { stringify } from "csv-stringify";
import { guarded } from "./csv.ts";
import type { Cell, Row } from "./table.ts";
import { objectText } from "./table.ts";

/** A row that was refused, and why. */
export interface ReportedRow {
  /** Its line in the file, or its row in the sheet. */
  number: number;
  /** The column that is at fault, where it is one. */
  column?: string;
  reason: string;
  cells: Row;
}

export interface ErrorReportOptions {
  /** The titles of the rows' columns. */
  titles: readonly string[];
  /** Further ones are only counted. */
  maxRows?: number;
  /** Rows that were refused beside these. */
  further?: number;
}

export const MAX_REPORTED_ROWS = 10_000;
const MAX_CELL_LENGTH = 1_000;

/**
 * Writes refused rows as CSV in UTF-8 with a byte order mark: their number, column and reason, and their own cells, cut
 * where they are long. Where there are more than `maxRows`, or further ones, the last line says how many.
 */
export async function* writeErrorReport(
  rows: AsyncIterable<ReportedRow> | Iterable<ReportedRow>,
  { titles, maxRows = MAX_REPORTED_ROWS, further = 0 }: ErrorReportOptions,
): AsyncGenerator<Uint8Array> {
  const csv = stringify({ bom: true, record_delimiter: "windows", quoted_match: /[\r\n]/ });
  const writing = (async () => {
    await write(csv, ["row", "column", "reason", ...titles.map(cellText)]);
    let count = 0;
    for await (const row of rows) {
      count += 1;
      if (count <= maxRows) await write(csv, recordOf(row, titles.length));
    }
    const more = Math.max(0, count - maxRows) + further;
    if (more > 0) await write(csv, ["", "", `and ${more} more`]);
    csv.end();
  })();
  // Told to the reader, who may have left.
  writing.catch((error: Error) => csv.destroy(error));
  try {
    yield* csv as AsyncIterable<Uint8Array>;
    await writing;
  } finally {
    csv.destroy();
  }
}

type Stringifier = ReturnType<typeof stringify>;

function write(csv: Stringifier, record: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => csv.write(record, (error) => (error ? reject(error) : resolve())));
}

function recordOf({ number, column = "", reason, cells }: ReportedRow, width: number): string[] {
  const texts = cells.slice(0, Math.max(width, 1)).map(cellText);
  return [String(number), cellText(column), cellText(reason), ...texts];
}

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined) return "";
  const text = typeof cell === "object" ? objectText(cell) : String(cell);
  const cut = text.length > MAX_CELL_LENGTH ? `${text.slice(0, MAX_CELL_LENGTH)}…` : text;
  return guarded(cut);
}

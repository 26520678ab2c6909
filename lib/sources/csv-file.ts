import type { Parser } from "csv-parse";
import { parse } from "csv-parse";
import { failedPrecondition, LongshoreError } from "../errors.ts";
import type { Column } from "../tabular/table.ts";
import { FileBytes } from "./file-bytes.ts";
import type { FileBatch, FileLimits, FileOptions, FileRows } from "./file-rows.ts";
import { FILE_LIMITS, FileBatchBuilder, headerColumns } from "./file-rows.ts";
import type { FileEncoding } from "./file-text.ts";
import { fileText } from "./file-text.ts";

export interface CsvFileOptions extends FileOptions {
  encoding: FileEncoding;
  /** What is between two fields; a comma where absent. */
  delimiter?: "," | ";" | "\t" | "|";
}

/**
 * Opens a CSV file, packed with gzip or not, whose first row is the header. All cells are texts. A row with more or fewer
 * fields than the header is refused; a quote in the wrong place fails the file, because what follows cannot be told.
 */
export async function openCsvFile(content: AsyncIterable<Uint8Array>, options: CsvFileOptions): Promise<FileRows> {
  const limits = { ...FILE_LIMITS, ...options.limits };
  const bytes = new FileBytes(content, limits.maxUnpackedBytes, options.signal);
  const text = fileText(bytes.pieces(), options.encoding);
  const reader = new CsvReader(limits, options.delimiter ?? ",");
  try {
    let more = true;
    while (more && !reader.columns) more = await reader.readSome(text);
    if (!reader.columns) throw failedPrecondition("the file is empty");
  } catch (error) {
    await text.return(undefined);
    throw error;
  }
  const { rows } = reader;
  return {
    columns: reader.columns,
    batches: reader.batches(text),
    position: () => ({ bytes: bytes.count, rows: rows.rows, refused: rows.refused }),
    close: async () => void (await text.return(undefined)),
  };
}

class CsvReader {
  readonly #parser: Parser;
  readonly #limits: FileLimits;
  readonly rows = new FileBatchBuilder();
  columns: Column[] | undefined;
  /** The last one that was read. */
  #line = 0;
  #emptyLines = 0;

  constructor(limits: FileLimits, delimiter: string) {
    this.#limits = limits;
    this.#parser = parse({
      delimiter,
      record_delimiter: ["\r\n", "\n", "\r"],
      relax_column_count: true,
      skip_empty_lines: true,
      max_record_size: limits.maxRowBytes,
      on_record: (record, { empty_lines }) => this.#take(record as unknown as string[], empty_lines),
    });
    // Whoever writes is told.
    this.#parser.on("error", () => {});
    this.#parser.resume();
  }

  async *batches(text: AsyncGenerator<string>): AsyncGenerator<FileBatch> {
    for (let more = true; more;) {
      more = await this.readSome(text);
      if (this.rows.size > 0) yield this.rows.take();
    }
  }

  /** Answers whether there is more. */
  async readSome(text: AsyncGenerator<string>): Promise<boolean> {
    const { value, done } = await text.next();
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error) => reject(this.#explain(error));
      if (done) this.#parser.once("error", fail).once("close", resolve).end();
      else this.#parser.write(value, (error) => (error ? fail(error) : resolve()));
    });
    return !done;
  }

  /** Answers null: nothing goes through the parser's own queue. */
  #take(record: string[], emptyLines: number): null {
    // Empty lines were before it.
    const first = this.#line + 1 + emptyLines - this.#emptyLines;
    this.#emptyLines = emptyLines;
    this.#line = first;
    for (const cell of record) this.#line += lineBreaks(cell);
    if (!this.columns) this.columns = headerColumns(record, this.#limits.maxColumns);
    else if (record.length === this.columns.length) this.rows.add(first, record);
    else {
      const reason = `has ${record.length} fields, and the header has ${this.columns.length}`;
      this.rows.refuse(first, reason, record.slice(0, this.#limits.maxColumns));
    }
    return null;
  }

  #explain(error: Error & { code?: string }): Error {
    if (error instanceof LongshoreError) return error;
    const explain = EXPLAINED[error.code ?? ""];
    return explain ? failedPrecondition(explain(this.#line, this.#limits)) : error;
  }
}

/** What csv-parse says in its own terms, by the last line that was read. */
const EXPLAINED: Record<string, (line: number, limits: FileLimits) => string> = {
  CSV_MAX_RECORD_SIZE: (line, limits) => `the row after line ${line} is longer than ${limits.maxRowBytes} bytes`,
  CSV_QUOTE_NOT_CLOSED: (line) => `a quote of the row after line ${line} is not closed`,
  INVALID_OPENING_QUOTE: (line) => `a quote is within a field of the row after line ${line}`,
  CSV_INVALID_CLOSING_QUOTE: (line) => `a quote is within a field of the row after line ${line}`,
};

function lineBreaks(cell: string): number {
  if (!cell.includes("\n") && !cell.includes("\r")) return 0;
  return cell.match(/\r\n|\n|\r/g)!.length;
}

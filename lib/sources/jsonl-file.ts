import { failedPrecondition } from "../errors.ts";
import type { Cell, Column } from "../tabular/table.ts";
import { isExactNumber } from "../tabular/table.ts";
import { FileBytes } from "./file-bytes.ts";
import type { FileBatch, FileLimits, FileOptions, FileRows } from "./file-rows.ts";
import { FILE_LIMITS, FileBatchBuilder, headerColumns } from "./file-rows.ts";
import { fileText } from "./file-text.ts";
import { keysInOrder, parseJson } from "./json.ts";

const ROWS_PER_BATCH = 1_000;

/**
 * Opens a file of JSON objects, one a line, in UTF-8, packed with gzip or not. The keys of the first are the columns. A line
 * that is no object, or has a further key, is refused; a key that it lacks is an empty cell. Numbers keep their digits.
 */
export async function openJsonlFile(content: AsyncIterable<Uint8Array>, options: FileOptions): Promise<FileRows> {
  const limits = { ...FILE_LIMITS, ...options.limits };
  const bytes = new FileBytes(content, limits.maxUnpackedBytes, options.signal);
  const lines = linesOf(fileText(bytes.pieces(), "utf8"), limits.maxRowBytes);
  const rows = new FileBatchBuilder();
  try {
    const first = await lines.next();
    if (first.done) throw failedPrecondition("the file is empty");
    const columns = readColumns(first.value, limits);
    return {
      columns,
      batches: readBatches(first.value, lines, columns, rows),
      position: () => ({ bytes: bytes.count, rows: rows.rows, refused: rows.refused }),
      close: async () => void (await lines.return(undefined)),
    };
  } catch (error) {
    await lines.return(undefined);
    throw error;
  }
}

interface Line {
  number: number;
  text: string;
}

/** Lines that hold something. */
async function* linesOf(text: AsyncIterable<string>, maxBytes: number): AsyncGenerator<Line> {
  let number = 1;
  let rest = "";
  for await (const piece of text) {
    const [first, ...more] = piece.split("\n");
    rest += first!;
    for (const begun of more) {
      if (rest.length <= maxBytes && rest.trim() !== "") yield checked({ number, text: rest }, maxBytes);
      else if (rest.length > maxBytes) throw tooLong(number, maxBytes);
      number += 1;
      rest = begun;
    }
    if (rest.length > maxBytes) throw tooLong(number, maxBytes);
  }
  if (rest.trim() !== "") yield checked({ number, text: rest }, maxBytes);
}

function checked(line: Line, maxBytes: number): Line {
  if (line.text.length * 3 > maxBytes && Buffer.byteLength(line.text) > maxBytes) throw tooLong(line.number, maxBytes);
  return line;
}

function tooLong(number: number, maxBytes: number): Error {
  return failedPrecondition(`line ${number} is longer than ${maxBytes} bytes`);
}

function readColumns({ number, text }: Line, { maxColumns }: FileLimits): Column[] {
  const value = parseLine(text);
  if (value instanceof Error) throw failedPrecondition(`line ${number} ${value.message}`);
  return headerColumns(
    keysInOrder(text, value, (root) => root),
    maxColumns,
  );
}

async function* readBatches(
  first: Line,
  lines: AsyncIterable<Line>,
  columns: readonly Column[],
  rows: FileBatchBuilder,
): AsyncGenerator<FileBatch> {
  const keys = columns.map((column) => column.key);
  const known = new Set(keys);
  readLine(first, keys, known, rows);
  for await (const line of lines) {
    if (rows.size >= ROWS_PER_BATCH) yield rows.take();
    readLine(line, keys, known, rows);
  }
  yield rows.take();
}

function readLine({ number, text }: Line, keys: readonly string[], known: Set<string>, rows: FileBatchBuilder): void {
  const value = parseLine(text);
  if (value instanceof Error) return rows.refuse(number, value.message, [text]);
  const cells = keys.map((key) => (Object.hasOwn(value, key) ? value[key] : undefined));
  const unknown = Object.keys(value).find((key) => !known.has(key));
  if (unknown === undefined) return rows.add(number, cells);
  rows.refuse(
    number,
    `has the key ${JSON.stringify(unknown.slice(0, 100))}, which the first line does not have`,
    cells,
  );
}

function parseLine(text: string): Record<string, Cell> | Error {
  try {
    const value = parseJson(text);
    if (typeof value !== "object" || value === null || Array.isArray(value) || isExactNumber(value)) {
      return new Error("must be a JSON object");
    }
    return value as Record<string, Cell>;
  } catch (error) {
    return new Error(`is not JSON (${(error as Error).message.slice(0, 200)})`);
  }
}

import { failedPrecondition } from "../errors.ts";
import { RowCursor } from "./row-cursor.ts";
import type { Cell, Column, Row } from "./table.ts";
import { isExactNumber, isPlainNumber, objectText } from "./table.ts";
import { rowBlocks } from "./row-blocks.ts";
import { specialCharacters, Utf8Block } from "./utf8-block.ts";
import { dateOf } from "./xlsx-dates.ts";
import type { DocumentProperties } from "./xlsx-parts.ts";
import { STYLES, closingParts, leadingParts, sheetPath } from "./xlsx-parts.ts";
import { columnLetters, exceedsExcelDigits, needsPreserve, textWidth, xmlText } from "./xlsx-text.ts";
import type { ZipEntry } from "./zip.ts";
import { writeZip } from "./zip.ts";

/** Excel's own limits. */
const MAX_ROWS = 1_048_576;
const MAX_COLUMNS = 16_384;
const MAX_TEXT = 32_767;

/** The smallest number that has all the digits of a double. */
const SMALLEST = 2.2250738585072014e-308;

/** Widths follow the first rows only: no more are at hand when they must be written. */
const ROWS_FOR_WIDTH = 100;
const WIDTH = { least: 8, most: 60 };

/** A last sheet, of two columns, that tells of the workbook; asked for when the rows are written, and told how many. */
export type Summary = (rows: number) => readonly (readonly [label: string, value: Cell])[];

export interface XlsxOptions extends DocumentProperties {
  /** 1 to 9. */
  level: number;
  summary?: Summary;
  /** What to do with a text over the 32,767 characters that a cell can hold. */
  longText: "fail" | "truncate";
  /** Told of every text that was cut. */
  onTruncated: () => void;
}

/** Writes a workbook of one sheet, and of further ones where the rows are more than a sheet holds; takes `limit` rows. */
export function writeXlsx(
  columns: readonly Column[],
  cursor: RowCursor,
  limit: number,
  options: XlsxOptions,
): AsyncGenerator<Uint8Array> {
  if (columns.length > MAX_COLUMNS) {
    throw failedPrecondition(`the table has ${columns.length} columns; a sheet of Excel holds ${MAX_COLUMNS}`);
  }
  return writeZip(parts(columns, cursor, limit, options), { level: options.level, modifiedAt: options.createdAt });
}

async function* parts(
  columns: readonly Column[],
  cursor: RowCursor,
  limit: number,
  options: XlsxOptions,
): AsyncGenerator<ZipEntry> {
  yield* leadingParts(options);
  const begin = cursor.rows;
  const end = begin + limit;
  const names: string[] = [];
  do {
    names.push(`Sheet${names.length + 1}`);
    yield { name: sheetPath(names.length), content: writeSheet(columns, cursor, end, options) };
  } while (cursor.rows < end && (await cursor.peek()).length > 0);
  if (options.summary) {
    names.push("Summary");
    yield { name: sheetPath(names.length), content: writeSummary(options.summary(cursor.rows - begin), options) };
  }
  yield* closingParts(names);
}

/** Its first line is its header. */
function writeSummary([first, ...lines]: ReturnType<Summary>, options: XlsxOptions): AsyncGenerator<Uint8Array> {
  const columns = (first ?? []).map((title) => ({ key: "", title: String(title) }));
  return writeSheet(columns, new RowCursor(batchOf(lines)), Infinity, options);
}

async function* batchOf(rows: readonly Row[]): AsyncGenerator<readonly Row[]> {
  yield rows;
}

async function* writeSheet(
  columns: readonly Column[],
  cursor: RowCursor,
  end: number,
  options: XlsxOptions,
): AsyncGenerator<Uint8Array> {
  const block = new Utf8Block();
  const sheet = new SheetFormat(columns, block, options);
  sheet.head(await cursor.peek());
  const rows = cursor.take(Math.min(MAX_ROWS - 1, end - cursor.rows));
  yield* rowBlocks(block, rows, (row) => sheet.row(row));
  yield Buffer.from("</sheetData></worksheet>");
}

const XML_CHARACTERS = specialCharacters("&<>_" + String.fromCharCode(...Array(32).keys()));
const ROW_START = Buffer.from('<row r="');
const ROW_FIRST_CELL = Buffer.from('">');
const ROW_END = Buffer.from("</row>");
const VALUE_END = Buffer.from("</v></c>");
const TEXT_END = Buffer.from("</t></is></c>");
const SPACE = 0x20;

/** Makes a sheet's XML; cells keep their `r=`, without which some readers refuse them. */
class SheetFormat {
  readonly #columns: readonly Column[];
  readonly #block: Utf8Block;
  readonly #options: XlsxOptions;
  #rowNumber = 1;
  /** Of the row's number, in ASCII. */
  #digits = new Uint8Array();
  #starts: CellStarts[] = [];

  constructor(columns: readonly Column[], block: Utf8Block, options: XlsxOptions) {
    this.#columns = columns;
    this.#block = block;
    this.#options = options;
  }

  head(firstRows: readonly Row[]): void {
    const widths = this.#columns.map((column, index) => columnWidth(column, index, firstRows));
    const cols = widths.map(
      (width, index) => `<col min="${index + 1}" max="${index + 1}" width="${width}" customWidth="1"/>`,
    );
    const titles = this.#columns.map((column, index) => this.#header(column, index));
    this.#block.text(
      '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' +
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0">' +
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>' +
        `<sheetFormatPr defaultRowHeight="15"/><cols>${cols.join("")}</cols><sheetData><row r="1">${titles.join("")}</row>`,
    );
  }

  row(row: Row): void {
    const block = this.#block;
    this.#countRow();
    block.bytes(ROW_START);
    block.bytes(this.#digits);
    block.bytes(ROW_FIRST_CELL);
    for (let index = 0; index < this.#columns.length; index++) {
      const cell = row[index];
      if (typeof cell === "string" && this.#columns[index]!.type === undefined) this.#textCell(cell, index);
      else if (typeof cell === "number") this.#numberCell(cell, index);
      else if (cell !== null && cell !== undefined) this.#otherCell(cell, index);
    }
    block.bytes(ROW_END);
  }

  /** A row's number stands in each of its cells, so its digits are made once. */
  #countRow(): void {
    const text = String(++this.#rowNumber);
    if (text.length !== this.#digits.length) {
      this.#digits = new Uint8Array(text.length);
      this.#starts = this.#columns.map((_, index) => new CellStarts(columnLetters(index), text.length));
    }
    for (let index = 0; index < text.length; index++) this.#digits[index] = text.charCodeAt(index);
  }

  #start(start: CellStart): void {
    this.#block.bytes(start.at(this.#digits));
  }

  #textCell(text: string, index: number): void {
    if (text === "") return;
    const block = this.#block;
    const begin = block.length;
    if (text.charCodeAt(0) > SPACE && text.charCodeAt(text.length - 1) > SPACE) {
      this.#start(this.#starts[index]!.text);
      if (block.plain(text, XML_CHARACTERS)) {
        block.bytes(TEXT_END);
        return;
      }
      block.cut(begin);
    }
    const fitting = text.length > MAX_TEXT ? this.#shorten(text, index) : text;
    this.#start(needsPreserve(fitting) ? this.#starts[index]!.preservedText : this.#starts[index]!.text);
    block.text(xmlText(fitting));
    block.bytes(TEXT_END);
  }

  #numberCell(value: number, index: number): void {
    const block = this.#block;
    const begin = block.length;
    this.#start(this.#starts[index]!.number);
    if (!block.shortNumber(value)) {
      const text = String(value);
      // NaN and the infinities are no numbers to Excel.
      if (!Number.isFinite(value) || exceedsExcelDigits(text)) {
        block.cut(begin);
        this.#textCell(text, index);
        return;
      }
      block.text(text);
    }
    block.bytes(VALUE_END);
  }

  /** The kinds of cell that are few. */
  #otherCell(cell: NonNullable<Cell>, index: number): void {
    const starts = this.#starts[index]!;
    if (typeof cell === "boolean") return this.#value(starts.boolean, cell ? "1" : "0");
    const { type } = this.#columns[index]!;
    const date = dateOf(cell, type);
    if (date) return this.#value(starts[date.form], String(date.serial));
    const text = typeof cell === "object" ? objectText(cell) : String(cell);
    const isNumber =
      typeof cell === "bigint" ||
      (typeof cell === "object" && isExactNumber(cell)) ||
      (typeof cell === "string" && type === "number" && isPlainNumber(text));
    if (isNumber && !exceedsExcelDigits(text) && isInRange(text)) {
      this.#value(starts.number, String(Number(text)));
    } else {
      this.#textCell(text, index);
    }
  }

  #value(start: CellStart, text: string): void {
    this.#start(start);
    this.#block.text(text);
    this.#block.bytes(VALUE_END);
  }

  #header({ title }: Column, index: number): string {
    if (title === "") return "";
    const text = xmlText(title.length > MAX_TEXT ? this.#shorten(title, index) : title);
    return (
      `<c r="${columnLetters(index)}1" s="${STYLES.header}" t="inlineStr">` +
      `<is><t xml:space="preserve">${text}</t></is></c>`
    );
  }

  #shorten(text: string, index: number): string {
    if (this.#options.longText === "fail") {
      const where = `row ${this.#rowNumber}, column ${JSON.stringify(this.#columns[index]!.title.slice(0, 100))}`;
      throw failedPrecondition(`${where}: the text has ${text.length} characters; a cell of Excel holds ${MAX_TEXT}`);
    }
    this.#options.onTruncated();
    const cutsPair = (text.charCodeAt(MAX_TEXT - 1) & 0xfc00) === 0xd800;
    return text.slice(0, cutsPair ? MAX_TEXT - 1 : MAX_TEXT);
  }
}

/** Whether a double has the digits of a number: beyond its largest it has none, below its smallest ever fewer. */
function isInRange(text: string): boolean {
  const value = Number(text);
  return Number.isFinite(value) && (Math.abs(value) >= SMALLEST || !/^[^eE]*[1-9]/.test(text));
}

/** What comes before the value of a column's cells, by their kind, for rows whose numbers have so many digits. */
class CellStarts {
  readonly number: CellStart;
  readonly text: CellStart;
  readonly preservedText: CellStart;
  readonly boolean: CellStart;
  readonly date: CellStart;
  readonly datetime: CellStart;
  readonly datetimeMs: CellStart;

  constructor(letters: string, digits: number) {
    const start = (rest: string) => new CellStart(letters, digits, rest);
    this.number = start("><v>");
    this.text = start(' t="inlineStr"><is><t>');
    this.preservedText = start(' t="inlineStr"><is><t xml:space="preserve">');
    this.boolean = start(' t="b"><v>');
    this.date = start(` s="${STYLES.date}"><v>`);
    this.datetime = start(` s="${STYLES.datetime}"><v>`);
    this.datetimeMs = start(` s="${STYLES.datetimeMs}"><v>`);
  }
}

class CellStart {
  readonly #bytes: Uint8Array;
  readonly #place: number;

  constructor(letters: string, digits: number, rest: string) {
    const before = `<c r="${letters}`;
    this.#bytes = Buffer.from(`${before}${"0".repeat(digits)}"${rest}`);
    this.#place = before.length;
  }

  /** With the number of a row in its place; good until the next call. */
  at(digits: Uint8Array): Uint8Array {
    const bytes = this.#bytes;
    for (let index = 0; index < digits.length; index++) bytes[this.#place + index] = digits[index]!;
    return bytes;
  }
}

function columnWidth(column: Column, index: number, firstRows: readonly Row[]): number {
  let width = textWidth(column.title.slice(0, WIDTH.most));
  for (const row of firstRows.slice(0, ROWS_FOR_WIDTH)) {
    const cell = row[index];
    if (cell === null || cell === undefined || typeof cell === "object") continue;
    width = Math.max(width, textWidth(String(cell).slice(0, WIDTH.most)));
  }
  return Math.min(Math.max(width + 2, WIDTH.least), WIDTH.most);
}

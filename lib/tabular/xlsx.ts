import { failedPrecondition } from "../errors.ts";
import type { RowCursor } from "./row-cursor.ts";
import type { Cell, Column, Row } from "./table.ts";
import { isExactNumber, isPlainNumber, objectText } from "./table.ts";
import { textBlocks } from "./text-blocks.ts";
import { HEADER_STYLE, closingParts, leadingParts, sheetPath } from "./xlsx-parts.ts";
import { columnLetters, exceedsExcelDigits, needsPreserve, textWidth, xmlText } from "./xlsx-text.ts";
import type { ZipEntry } from "./zip.ts";
import { writeZip } from "./zip.ts";

/** Excel's own limits. */
const MAX_ROWS = 1_048_576;
const MAX_COLUMNS = 16_384;
const MAX_TEXT = 32_767;

/** Widths follow the first rows only: no more are at hand when they must be written. */
const ROWS_FOR_WIDTH = 100;
const WIDTH = { least: 8, most: 60 };

export interface XlsxOptions {
  /** 1 to 9. */
  level: number;
  title: string;
  createdAt: Date;
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
  yield* leadingParts(options.title, options.createdAt);
  const end = cursor.rows + limit;
  let sheets = 0;
  do {
    sheets++;
    yield { name: sheetPath(sheets), content: writeSheet(columns, cursor, end, options) };
  } while (cursor.rows < end && (await cursor.peek()).length > 0);
  yield* closingParts(sheets);
}

async function* writeSheet(
  columns: readonly Column[],
  cursor: RowCursor,
  end: number,
  options: XlsxOptions,
): AsyncGenerator<Uint8Array> {
  const sheet = new SheetFormat(columns, options);
  const head = sheet.head(await cursor.peek());
  const rows = cursor.take(Math.min(MAX_ROWS - 1, end - cursor.rows));
  for await (const block of textBlocks(head, rows, (row) => sheet.row(row))) yield Buffer.from(block, "utf8");
  yield Buffer.from("</sheetData></worksheet>");
}

/** Makes a sheet's XML; cells keep their `r=`, without which some readers refuse them. */
class SheetFormat {
  readonly #columns: readonly Column[];
  readonly #cellStarts: string[];
  readonly #options: XlsxOptions;
  #rowNumber = 1;

  constructor(columns: readonly Column[], options: XlsxOptions) {
    this.#columns = columns;
    this.#cellStarts = columns.map((_, index) => `<c r="${columnLetters(index)}`);
    this.#options = options;
  }

  head(firstRows: readonly Row[]): string {
    const widths = this.#columns.map((column, index) => columnWidth(column, index, firstRows));
    const cols = widths.map(
      (width, index) => `<col min="${index + 1}" max="${index + 1}" width="${width}" customWidth="1"/>`,
    );
    const titles = this.#columns.map((column, index) => this.#header(column, index));
    return (
      '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' +
      '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0">' +
      '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>' +
      `<sheetFormatPr defaultRowHeight="15"/><cols>${cols.join("")}</cols><sheetData><row r="1">${titles.join("")}</row>`
    );
  }

  row(row: Row): string {
    const number = ++this.#rowNumber;
    const numeric = `${number}"><v>`;
    const inline = `${number}" t="inlineStr"><is><t>`;
    let xml = `<row r="${number}">`;
    for (let index = 0; index < this.#cellStarts.length; index++) {
      const cell = row[index];
      if (cell === null || cell === undefined || cell === "") continue;
      const start = this.#cellStarts[index]!;
      if (typeof cell === "number") {
        const text = String(cell);
        // NaN and the infinities are no numbers to Excel.
        const fits = Number.isFinite(cell) && !exceedsExcelDigits(text);
        xml += fits ? start + numeric + text + "</v></c>" : start + inline + text + "</t></is></c>";
      } else if (typeof cell === "string" && this.#columns[index]!.type === undefined) {
        const text = this.#text(cell, index);
        xml += needsPreserve(cell)
          ? `${start}${number}" t="inlineStr"><is><t xml:space="preserve">${text}</t></is></c>`
          : start + inline + text + "</t></is></c>";
      } else {
        xml += this.#otherCell(cell, index, number);
      }
    }
    return xml + "</row>";
  }

  /** The kinds of cell that are few, apart from the loop above so that it stays small and fast. */
  #otherCell(cell: NonNullable<Cell>, index: number, number: number): string {
    const start = this.#cellStarts[index]! + number;
    if (typeof cell === "boolean") return `${start}" t="b"><v>${cell ? 1 : 0}</v></c>`;
    const text = typeof cell === "object" ? objectText(cell) : String(cell);
    if (text === "") return "";
    const isNumber =
      typeof cell === "bigint" ||
      (typeof cell === "object" && isExactNumber(cell)) ||
      (typeof cell === "string" && isPlainNumber(text));
    if (isNumber && !exceedsExcelDigits(text) && Number.isFinite(Number(text))) {
      return `${start}"><v>${Number(text)}</v></c>`;
    }
    return `${start}" t="inlineStr"><is><t xml:space="preserve">${this.#text(text, index)}</t></is></c>`;
  }

  #header({ title }: Column, index: number): string {
    if (title === "") return "";
    const text = this.#text(title, index);
    return `${this.#cellStarts[index]!}1" s="${HEADER_STYLE}" t="inlineStr"><is><t xml:space="preserve">${text}</t></is></c>`;
  }

  #text(text: string, index: number): string {
    return xmlText(text.length > MAX_TEXT ? this.#shorten(text, index) : text);
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

function columnWidth(column: Column, index: number, firstRows: readonly Row[]): number {
  let width = textWidth(column.title.slice(0, WIDTH.most));
  for (const row of firstRows.slice(0, ROWS_FOR_WIDTH)) {
    const cell = row[index];
    if (cell === null || cell === undefined || typeof cell === "object") continue;
    width = Math.max(width, textWidth(String(cell).slice(0, WIDTH.most)));
  }
  return Math.min(Math.max(width + 2, WIDTH.least), WIDTH.most);
}

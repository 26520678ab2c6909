import iconv from "iconv-lite";
import type { Cell, Column, Row } from "./table.ts";
import { isPlainNumber, objectText } from "./table.ts";
import { textBlocks } from "./text-blocks.ts";

export interface CsvOptions {
  encoding: "utf8" | "gbk" | "gb18030";
  /** Begins the file with U+FEFF, by which Excel knows UTF-8. */
  bom: boolean;
  /** Puts a `'` before texts that a spreadsheet would run as a formula. */
  formulaGuard: boolean;
  /** Told how many characters of a block the encoding has no code for; they become `?`. */
  onUnmappable: (count: number) => void;
}

/** Writes CSV as RFC 4180 has it: CRLF, quotes where needed, a header row. */
export async function* writeCsv(
  columns: readonly Column[],
  rows: AsyncIterable<readonly Row[]>,
  options: CsvOptions,
): AsyncGenerator<Uint8Array> {
  const guard = options.formulaGuard;
  const exempt = columns.map((column) => !guard || column.type === "number");
  const header = columns.map((column) => field(guarded(column.title, !guard)));
  const head = (options.bom ? "\ufeff" : "") + endRow(header.join(","), columns.length);
  const blocks = textBlocks(head, rows, (row) => {
    let text = cellText(row[0], exempt[0]!);
    for (let index = 1; index < exempt.length; index++) text += "," + cellText(row[index], exempt[index]!);
    return endRow(text, exempt.length);
  });
  for await (const block of blocks) yield encode(block, options);
}

/** Readers skip an empty line, so a lone empty field is written in quotes. */
function endRow(text: string, columnCount: number): string {
  return text === "" && columnCount === 1 ? '""\r\n' : text + "\r\n";
}

function cellText(cell: Cell, exempt: boolean): string {
  if (typeof cell === "string") return field(guarded(cell, exempt));
  if (cell === null || cell === undefined) return "";
  if (typeof cell === "object") return field(guarded(objectText(cell), exempt));
  return String(cell);
}

const QUOTED = /[",\r\n]/;

function field(text: string): string {
  return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** https://owasp.org/www-community/attacks/CSV_Injection, with the full-width forms that Excel takes for the same. */
const FORMULA = /^[=+\-@\t\r＝＋－＠]/;

function guarded(text: string, exempt: boolean): string {
  const first = text.charCodeAt(0);
  // Most texts begin with a letter: they need no closer look.
  if (exempt || (first > 0x40 && first < 0xff0b)) return text;
  return FORMULA.test(text) && !isPlainNumber(text) ? `'${text}` : text;
}

function encode(block: string, { encoding, onUnmappable }: CsvOptions): Uint8Array {
  if (encoding === "utf8") return Buffer.from(block, "utf8");
  const bytes = iconv.encode(block, encoding);
  // iconv-lite writes `?` for what it cannot map; in both encodings that byte is never a part of another character.
  const unmappable = countIn(bytes, 0x3f) - countIn(block, "?");
  if (unmappable > 0) onUnmappable(unmappable);
  return bytes;
}

function countIn(where: string, what: string): number;
function countIn(where: Buffer, what: number): number;
function countIn(where: string | Buffer, what: string | number): number {
  let count = 0;
  const text = where as Buffer;
  for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) count++;
  return count;
}

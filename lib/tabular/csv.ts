import iconv from "iconv-lite";
import type { Cell, Column, Row } from "./table.ts";
import { isPlainNumber, objectText } from "./table.ts";
import { rowBlocks } from "./row-blocks.ts";
import { specialCharacters, Utf8Block } from "./utf8-block.ts";

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
  const block = new Utf8Block();
  const unguarded = !options.formulaGuard;
  const exempt = columns.map((column) => unguarded || column.type === "number");
  const writeRow = (row: Row, isExempt: readonly boolean[]) => {
    const start = block.length;
    for (let index = 0; index < isExempt.length; index++) {
      if (index > 0) block.byte(COMMA);
      writeCell(block, row[index], isExempt[index]!);
    }
    // Readers skip an empty line, so a lone empty field is written in quotes.
    if (block.length === start) block.text('""');
    block.bytes(LINE_END);
  };
  if (options.bom) block.text("\ufeff");
  const titles = columns.map((column) => column.title);
  const noneExempt = columns.map(() => unguarded);
  writeRow(titles, noneExempt);
  for await (const bytes of rowBlocks(block, rows, (row) => writeRow(row, exempt))) yield encode(bytes, options);
}

const COMMA = 0x2c;
const LINE_END = Buffer.from("\r\n");
const QUOTE = 0x22;
const QUOTED_CHARACTERS = specialCharacters('",\r\n');
const DOUBLED_CHARACTERS = specialCharacters('"');

function writeCell(block: Utf8Block, cell: Cell, exempt: boolean): void {
  if (typeof cell === "string") {
    if (exempt || !mayBeFormula(cell)) writeField(block, cell);
    else writeField(block, guarded(cell));
  } else if (typeof cell === "number") block.number(cell);
  else if (cell === null || cell === undefined) return;
  else if (typeof cell === "object") writeField(block, exempt ? objectText(cell) : guarded(objectText(cell)));
  else block.text(String(cell));
}

function writeField(block: Utf8Block, text: string): void {
  if (block.plain(text, QUOTED_CHARACTERS) || block.plain(text, DOUBLED_CHARACTERS, QUOTE)) return;
  block.text(field(text));
}

const QUOTED = /[",\r\n]/;

function field(text: string): string {
  return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** https://owasp.org/www-community/attacks/CSV_Injection, with the full-width forms that Excel takes for the same. */
const FORMULA = /^[=+\-@\t\r＝＋－＠]/;

/** Most texts begin with a letter or digit: they need no closer look. */
function mayBeFormula(text: string): boolean {
  const first = text.charCodeAt(0);
  return first < 0x41 ? !(first >= 0x30 && first <= 0x39) : first >= 0xff0b;
}

/** A text with a `'` before it where a spreadsheet would run it. */
export function guarded(text: string): string {
  return FORMULA.test(text) && !isPlainNumber(text) ? `'${text}` : text;
}

function encode(block: Uint8Array, { encoding, onUnmappable }: CsvOptions): Uint8Array {
  if (encoding === "utf8") return block;
  const text = Buffer.from(block.buffer, block.byteOffset, block.byteLength).toString("utf8");
  // iconv-lite takes this one for another character; neither encoding has a code that every reader knows for it.
  const bytes = iconv.encode(text.replaceAll("\ue5e5", "?"), encoding);
  // iconv-lite writes `?` for what it cannot map; in both encodings that byte is never a part of another character.
  const unmappable = countIn(bytes, 0x3f) - countIn(text, "?");
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

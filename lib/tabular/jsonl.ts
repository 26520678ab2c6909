import { rowBlocks } from "./row-blocks.ts";
import type { Cell, Column, Row } from "./table.ts";
import { jsonText } from "./table.ts";
import { specialCharacters, Utf8Block } from "./utf8-block.ts";

const LINE_END = Buffer.from("}\n");
const QUOTE = 0x22;
const ESCAPED_CHARACTERS = specialCharacters('"\\' + String.fromCharCode(...Array(32).keys()));

/** Writes a JSON object a line, by the columns' keys; numbers keep every digit, an absent value is null. */
export async function* writeJsonl(
  columns: readonly Column[],
  rows: AsyncIterable<readonly Row[]>,
): AsyncGenerator<Uint8Array> {
  const block = new Utf8Block();
  const names = columns.map(({ key }, index) => Buffer.from(`${index === 0 ? "{" : ","}${JSON.stringify(key)}:`));
  yield* rowBlocks(block, rows, (row) => {
    for (let index = 0; index < names.length; index++) {
      block.bytes(names[index]!);
      writeValue(block, row[index]);
    }
    block.bytes(LINE_END);
  });
}

function writeValue(block: Utf8Block, cell: Cell): void {
  if (typeof cell === "string" && block.plain(cell, ESCAPED_CHARACTERS, QUOTE)) return;
  if (typeof cell === "number" && block.shortNumber(cell)) return;
  block.text(jsonText(cell));
}

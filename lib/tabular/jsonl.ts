import type { Column, Row } from "./table.ts";
import { jsonText } from "./table.ts";
import { textBlocks } from "./text-blocks.ts";

/** Writes a JSON object a line, by the columns' keys; numbers keep every digit, an absent value is null. */
export async function* writeJsonl(
  columns: readonly Column[],
  rows: AsyncIterable<readonly Row[]>,
): AsyncGenerator<Uint8Array> {
  const names = columns.map((column, index) => `${index === 0 ? "{" : ","}${JSON.stringify(column.key)}:`);
  const blocks = textBlocks("", rows, (row) => {
    let line = "";
    for (let index = 0; index < names.length; index++) line += names[index]! + jsonText(row[index]);
    return line + "}\n";
  });
  for await (const block of blocks) yield Buffer.from(block, "utf8");
}

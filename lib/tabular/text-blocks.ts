import type { Row } from "./table.ts";

/** About so many characters make a block: large enough for the cost of a hand-over to vanish, small for the heap. */
const BLOCK_CHARS = 256 * 1024;

/** Strings of about one block each: `head`, then every row's text; never cut within a row. */
export async function* textBlocks(
  head: string,
  batches: AsyncIterable<readonly Row[]>,
  rowText: (row: Row) => string,
): AsyncGenerator<string> {
  let block = head;
  for await (const rows of batches) {
    for (const row of rows) {
      block += rowText(row);
      if (block.length >= BLOCK_CHARS) {
        yield block;
        block = "";
      }
    }
  }
  if (block !== "") yield block;
}

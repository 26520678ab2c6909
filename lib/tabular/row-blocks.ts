import type { Row } from "./table.ts";
import type { Utf8Block } from "./utf8-block.ts";

/** What is in `block` already, then every row as `writeRow` writes it there, in blocks that are never cut within a row. */
export async function* rowBlocks(
  block: Utf8Block,
  batches: AsyncIterable<readonly Row[]>,
  writeRow: (row: Row) => void,
): AsyncGenerator<Uint8Array> {
  for await (const rows of batches) {
    for (const row of rows) {
      writeRow(row);
      if (block.isFull) yield block.take();
    }
  }
  if (block.length > 0) yield block.take();
}

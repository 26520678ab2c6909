import type { Column, Row } from "../tabular/table.ts";
import type { RowSource } from "../sources/row-source.ts";

/** Rows of one batch: few enough to be stopped between, many enough for what a batch costs. */
export const ROWS_PER_BATCH = 1_000;

/** A source of the batches; `close` is called once, at the end of the batches or before. */
export function batchSource(
  columns: readonly Column[],
  batches: AsyncIterable<readonly Row[]>,
  close: () => Promise<void>,
): RowSource {
  let pages = 0;
  let closing: Promise<void> | undefined;
  const closeOnce = () => (closing ??= close());
  return {
    columns,
    batches: counted(),
    position: () => ({ pages }),
    close: closeOnce,
  };

  async function* counted(): AsyncGenerator<readonly Row[]> {
    try {
      for await (const batch of batches) {
        yield batch;
        pages += 1;
      }
    } finally {
      await closeOnce();
    }
  }
}

/** Columns by their names; a name that a statement gives twice has a number in its key. */
export function columnsOf(found: readonly { name: string; type?: Column["type"] }[]): Column[] {
  const taken = new Set<string>();
  return found.map(({ name, type }) => {
    let key = name;
    for (let copy = 2; taken.has(key); copy += 1) key = `${name}_${copy}`;
    taken.add(key);
    return type === undefined ? { key, title: name } : { key, title: name, type };
  });
}

/** Changes the cells of some columns, in place: what the driver has is not always what a cell is. */
export type Finisher = readonly [column: number, finish: (cell: never) => Row[number]];

/** Bytes as PostgreSQL has them: `\x00ff`. */
export function bytesText(bytes: Uint8Array): string {
  return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")}`;
}

import type { Column, Row } from "../tabular/table.ts";

/** How far a source has come; totals only as far as it knows them, and they may change on the way. */
export interface SourcePosition {
  /** Pages, or what the source has instead, whose rows were handed out. */
  pages: number;
  totalPages?: number;
  totalRows?: number;
}

/** Rows of a table, from wherever: every source opens to one of these, with its columns known. */
export interface RowSource {
  columns: readonly Column[];
  /** The rows in order; can be read once. Nothing is fetched far ahead of the reader. */
  batches: AsyncIterable<readonly Row[]>;
  position(): SourcePosition;
  /** Frees what the source holds, read to its end or not. Aborting the signal it was opened with does the same. */
  close(): Promise<void>;
}

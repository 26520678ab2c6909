/** A number in the very digits of its source, for those that a double would round; made by `JSON.rawJSON`. */
export interface ExactNumber {
  readonly rawJSON: string;
}

/** A value of one cell; whatever else a source holds is a nested value and written as JSON text. */
export type Cell = null | undefined | boolean | number | bigint | string | Date | ExactNumber | object;

/** The cells of one row, in the order of the columns. */
export type Row = readonly Cell[];

export interface Column {
  /** The name by which the source knows it. */
  key: string;
  /** What the header row says. */
  title: string;
  /**
   * What its texts are, where the source says so. `number`: a DECIMAL, neither guarded as a formula nor typed as text;
   * `date`: `2026-11-26`; `datetime`: `2026-11-26 10:00:00.5`, in whatever zone the source has it, or `2026-11-26 10:00:00.5+00` in UTC.
   */
  type?: "number" | "date" | "datetime";
}

/** Whether a cell is a number in its source's own digits. */
export function isExactNumber(cell: object): cell is ExactNumber {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(cell);
}

/** Keeps a number's digits as they are written; `digits` must be a JSON number. */
export function exactNumber(digits: string): ExactNumber {
  return (JSON as unknown as { rawJSON(text: string): ExactNumber }).rawJSON(digits);
}

const PLAIN_NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

/** Whether a text is nothing but a number, such as `-12.50` or `1e6`. */
export function isPlainNumber(text: string): boolean {
  return PLAIN_NUMBER.test(text);
}

/** A date or nested value as text; an invalid date is empty, a bigint within a nested value keeps its digits. */
export function objectText(cell: object): string {
  if (cell instanceof Date) return Number.isNaN(cell.getTime()) ? "" : cell.toISOString();
  if (isExactNumber(cell)) return cell.rawJSON;
  return jsonText(cell);
}

/** JSON text of any cell. */
export function jsonText(cell: Cell): string {
  if (typeof cell === "string") return JSON.stringify(cell);
  if (typeof cell === "number") return Number.isFinite(cell) ? String(cell) : "null";
  return JSON.stringify(cell, digitsOfBigint) ?? "null";
}

function digitsOfBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? exactNumber(value.toString()) : value;
}

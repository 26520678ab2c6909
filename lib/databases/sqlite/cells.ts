import type { Cell, Column } from "../../tabular/table.ts";
import { bytesText } from "../batches.ts";

/** What the texts of a column are, by what it was declared as; SQLite itself has neither dates nor DECIMALs. */
export function typeOf(declared: string | null): Column["type"] {
  const type = (declared ?? "").toUpperCase();
  if (type === "DATE") return "date";
  return /^(?:DATETIME|TIMESTAMP)/.test(type) ? "datetime" : undefined;
}

/** Integers come as bigint, for those that a double would round. */
export function finishCell(value: unknown): Cell {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  return value instanceof Uint8Array ? bytesText(value) : (value as Cell);
}

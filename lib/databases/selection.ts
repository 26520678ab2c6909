import { invalidArgument, notFound } from "../errors.ts";
import type { TableColumn } from "./database.ts";

/** A table by the parts of its name, and its columns, as the catalogue has them. */
export interface KnownTable {
  /** The quoted name. */
  sql: string;
  columns: readonly TableColumn[];
}

export type Quote = (identifier: string) => string;

/** `"name"`; of MySQL with backticks. */
export function quoter(mark: '"' | "`"): Quote {
  return (identifier) => mark + identifier.replaceAll(mark, mark + mark) + mark;
}

export function noSuchTable(table: string) {
  return notFound(`there is no table ${JSON.stringify(table)}, or it may not be read`);
}

/** The columns that are named, as the catalogue has them; all where none is. */
export function chosenColumns(table: KnownTable, names: readonly string[] | undefined): readonly TableColumn[] {
  if (names === undefined) return table.columns;
  if (names.length === 0) throw invalidArgument("columns", "is empty");
  return names.map((name) => {
    const column = table.columns.find((each) => each.name === name);
    if (!column) throw invalidArgument("columns", `the table has no column ${JSON.stringify(name)}`);
    return column;
  });
}

/** The statement that reads a table. The filter has lines of its own, so that a comment at its end ends with it. */
export function composeSelect(
  table: KnownTable,
  { columns, filter }: { columns?: readonly string[]; filter?: string },
  quote: Quote,
): string {
  const names = chosenColumns(table, columns).map(({ name }) => quote(name));
  const condition = filter === undefined || filter.trim() === "" ? "" : `\nWHERE (\n${filter}\n)`;
  return `SELECT ${names.join(", ")}\nFROM ${table.sql}${condition}`;
}

import type { Database, TableColumn } from "../../lib/databases/database.ts";
import { failedPrecondition, notFound } from "../../lib/errors.ts";
import type { Cell, Column, Row } from "../../lib/tabular/table.ts";

/** Where the cells of a file's row go. */
export interface ColumnMapping {
  /** Of the table, in the order of the cells. */
  columns: readonly string[];
  rowOf(row: Row): Row;
}

export interface MappingOptions {
  table: string;
  /** The file's columns to the table's; empty: by their names. */
  mapping: Readonly<Record<string, string>>;
  /** Whether all cells are texts, as in a CSV: an empty one is then NULL where there may be one. */
  texts: boolean;
}

/** Matches the columns of a file with those of a table; FAILED_PRECONDITION that names the column that one of them lacks. */
export async function mapColumns(
  database: Database,
  columns: readonly Column[],
  { table, mapping, texts }: MappingOptions,
): Promise<ColumnMapping> {
  const known = await tableColumns(database, table);
  const pairs = Object.entries(mapping);
  const wanted = pairs.length > 0 ? pairs : columns.map(({ title }): [string, string] => [title, title]);
  const taken = new Set<string>();
  const places = wanted.map(([from, to]) => {
    const index = columns.findIndex(({ title }) => title === from);
    if (index < 0) throw failedPrecondition(`the file has no column ${JSON.stringify(from)}`);
    const column = known?.find(({ name }) => name === to);
    if (known && !column)
      throw failedPrecondition(`the table ${JSON.stringify(table)} has no column ${JSON.stringify(to)}`);
    if (taken.has(to)) throw failedPrecondition(`two columns of the file go to the column ${JSON.stringify(to)}`);
    taken.add(to);
    return { index, to, read: texts ? textReader(column) : sameCell };
  });
  return {
    columns: places.map(({ to }) => to),
    rowOf: (row) => places.map(({ index, read }) => read(row[index])),
  };
}

/** Undefined where a table takes any column. */
async function tableColumns(database: Database, table: string): Promise<readonly TableColumn[] | undefined> {
  if (database.dialect !== "mongodb") return database.columns(table);
  // All documents would be looked at to tell the keys that they have now.
  if (!(await database.tables()).includes(table)) throw notFound(`there is no collection ${JSON.stringify(table)}`);
  return undefined;
}

function sameCell(cell: Cell): Cell {
  return cell;
}

/** Types that take 1 and 0 for true and false, but not the words, which PostgreSQL's exports have. */
const NUMERIC_BOOLEAN = /^(?:tinyint\(1\)|bool)/i;

function textReader(column: TableColumn | undefined): (cell: Cell) => Cell {
  const empty = column?.nullable === false ? "" : null;
  if (!NUMERIC_BOOLEAN.test(column?.type ?? "")) return (cell) => (cell === "" ? empty : cell);
  return (cell) => (cell === "" ? empty : cell === "true" ? 1 : cell === "false" ? 0 : cell);
}

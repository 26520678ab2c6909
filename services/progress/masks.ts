import { createHmac } from "node:crypto";
import { failedPrecondition } from "../../lib/errors.ts";
import type { Cell, Column, Row } from "../../lib/tabular/table.ts";
import { objectText } from "../../lib/tabular/table.ts";
import type { MaskRule } from "./work.ts";

/** What rules make of a table. */
export interface Masking {
  columns: readonly Column[];
  rows(batch: readonly Row[]): readonly Row[];
}

export interface MaskingOptions {
  /** The key of `hash`. */
  key?: string;
  /** The columns' table, where it is known. */
  table?: string;
}

const HASH_DIGITS = 16;

/** What means something in a RegExp. */
const SYNTAX = /[\\^$.|?+()[\]{}/]/g;

/**
 * Applies the rules to columns by their names; refuses a column that a rule refuses. The columns of a statement have the names
 * that the statement gives them.
 */
export function maskColumns(
  columns: readonly Column[],
  rules: readonly MaskRule[],
  { key, table }: MaskingOptions,
): Masking {
  const found = columns.map(({ title }) => rules.find((rule) => matches(rule, title, table)));
  const masks = found.flatMap((rule, index): [number, (text: string) => string][] =>
    rule ? [[index, maskOf(rule, columns[index]!.title, key)]] : [],
  );
  if (masks.length === 0) return { columns, rows: (batch) => batch };
  return {
    // A masked number is a text.
    columns: columns.map((column, index) => (found[index] ? { key: column.key, title: column.title } : column)),
    rows: (batch) => batch.map((row) => maskRow(row, masks)),
  };
}

function matches({ column }: MaskRule, title: string, table: string | undefined): boolean {
  const parts = column.split(/\*+/).map((part) => part.replace(SYNTAX, "\\$&"));
  const pattern = new RegExp(`^${parts.join("[^]*")}$`, "iu");
  return pattern.test(title) || (table !== undefined && pattern.test(`${table}.${title}`));
}

function maskOf({ column, action }: MaskRule, title: string, key: string | undefined): (text: string) => string {
  switch (action) {
    case "refuse":
      throw failedPrecondition(`the column ${JSON.stringify(title)} may not be read: the rule ${column} refuses it`, {
        reason: "COLUMN_REFUSED",
      });
    case "hash":
      if (!key) throw failedPrecondition(`the column ${JSON.stringify(title)} is to be hashed, and there is no key`);
      return (text) => createHmac("sha256", key).update(text).digest("hex").slice(0, HASH_DIGITS);
    case "mask":
      return maskText;
  }
}

/** The first and the last character; how many are between them is not told. */
function maskText(text: string): string {
  const characters = Array.from(text);
  return characters.length > 2 ? `${characters[0]}***${characters.at(-1)}` : "***";
}

function maskRow(row: Row, masks: readonly [number, (text: string) => string][]): Row {
  const cells = row.slice();
  for (const [index, mask] of masks) {
    const cell = cells[index];
    if (cell !== null && cell !== undefined) cells[index] = mask(cellText(cell));
  }
  return cells;
}

function cellText(cell: NonNullable<Cell>): string {
  return typeof cell === "object" ? objectText(cell) : String(cell);
}

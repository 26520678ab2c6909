/** Workbooks as other programs read them, one form for all: a date is `{ date: "2026-11-26T10:00:00.000Z" }`. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import ExcelJS from "exceljs";
import type { Column, Row } from "../lib/tabular/table.ts";
import type { TableOptions } from "../lib/tabular/write-table.ts";
import { hasLibreOffice, hasOpenpyxl, libreOfficeCsv, readWorkbook, unescape, withTable } from "./table-files.ts";

export const testWithOpenpyxl = hasOpenpyxl ? test : test.skip;
export const testWithLibreOffice = hasLibreOffice ? test : test.skip;

/** Writes a workbook that unzip finds no fault with and hands its path over. */
export function withWorkbook<T>(
  columns: Column[],
  rows: readonly Row[] | AsyncIterable<readonly Row[]>,
  body: (path: string) => Promise<T>,
  options: Partial<TableOptions> = {},
): Promise<T> {
  return withTable(columns, rows, options, async (path) => {
    await promisify(execFile)("unzip", ["-tqq", path]);
    return body(path);
  });
}

/** What openpyxl reads in the first sheet. */
export async function openpyxlRows(path: string): Promise<unknown[][]> {
  const [sheet] = await readWorkbook(path);
  return sheet!.rows.map((row) => row.map((cell) => (typeof cell === "string" ? unescape(cell) : cell)));
}

/** What exceljs reads in the first sheet; it too leaves the escapes of inline texts to its user. */
export async function exceljsRows(path: string, width: number): Promise<unknown[][]> {
  const book = new ExcelJS.Workbook();
  await book.xlsx.readFile(path);
  const sheet = book.worksheets[0]!;
  return Array.from({ length: sheet.rowCount }, (_, row) =>
    Array.from({ length: width }, (_, column) => {
      const { value } = sheet.getCell(row + 1, column + 1);
      if (value instanceof Date) return { date: value.toISOString() };
      return typeof value === "string" ? unescape(value) : value;
    }),
  );
}

/** What LibreOffice has in each sheet, by its name. */
export async function libreOfficeRows(
  path: string,
  form: "shown" | "edited" = "shown",
): Promise<Record<string, string[][]>> {
  const sheets = Object.entries(await libreOfficeCsv(path, form));
  return Object.fromEntries(sheets.map(([name, csv]) => [name, parse(csv, { record_delimiter: "\n" })]));
}

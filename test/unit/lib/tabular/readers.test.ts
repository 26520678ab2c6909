import { describe, expect, test } from "@jest/globals";
import type { Cell, Column } from "../../../../lib/tabular/table.ts";
import type { Sample } from "../../../table-arbitraries.ts";
import { cellsOf, forSampleTables, withTitles } from "../../../table-arbitraries.ts";
import { firstDifference, unpack } from "../../../table-files.ts";
import {
  exceljsRows,
  libreOfficeRows,
  openpyxlRows,
  testWithLibreOffice,
  testWithOpenpyxl,
  withWorkbook,
} from "../../../workbook-readers.ts";

function seen({ text, seen }: Sample): unknown {
  // An empty text is no cell at all.
  return seen ?? (text === "" ? null : text);
}

test("XLSX tells Excel, which alone must be told, to keep white space at the ends of a text", () =>
  forSampleTables(10, (table) =>
    withWorkbook(table.columns, cellsOf(table), async (path) => {
      const sheet = (await unpack(path)).find(({ name }) => name.endsWith("sheet1.xml"))!.content.toString();
      expect(sheet).toMatch(/<t>./);
      expect(/<t>(?:[ \t\n\r][^<]*|[^<]*[ \t\n\r])<\/t>/.exec(sheet)?.[0]).toBeUndefined();
    }),
  ));

describe("any table is read from XLSX", () => {
  testWithOpenpyxl("by openpyxl, as it was written", () =>
    forSampleTables(6, (table) =>
      withWorkbook(table.columns, cellsOf(table), async (path) => {
        expect(firstDifference(await openpyxlRows(path), withTitles(table, seen))).toBeUndefined();
      }),
    ),
  );

  test("by exceljs", () =>
    forSampleTables(10, (table) =>
      withWorkbook(table.columns, cellsOf(table), async (path) => {
        const read = await exceljsRows(path, table.columns.length);
        expect(firstDifference(read, withTitles(table, seen))).toBeUndefined();
      }),
    ));

  testWithLibreOffice(
    "by LibreOffice, which knows the escapes",
    () =>
      forSampleTables(3, (table) =>
        withWorkbook(table.columns, cellsOf(table), async (path) => {
          const all = withTitles(table, shown);
          // It writes no empty rows at the end.
          const expected = all.slice(0, all.findLastIndex((row) => row.some((cell) => cell !== "")) + 1);
          const { Sheet1 } = await libreOfficeRows(path, "edited");
          const read = Sheet1!.map((row, at) =>
            row.map((text, column) => fromLibreOffice(text, expected[at]?.[column])),
          );
          expect(firstDifference(read, expected)).toBeUndefined();
        }),
      ),
    60_000,
  );
});

/** What a date is read as, and how it is shown: in a column of dates at times without the hours. */
interface DateCase {
  cell: Cell;
  at?: string;
  shown: string;
  shownInDates?: string;
}

const DATES: DateCase[] = [
  { cell: "1900-03-01", at: "1900-03-01T00:00:00.000Z", shown: "1900-03-01 00:00:00", shownInDates: "1900-03-01" },
  { cell: "1904-01-01", at: "1904-01-01T00:00:00.000Z", shown: "1904-01-01 00:00:00", shownInDates: "1904-01-01" },
  { cell: "2000-02-29", at: "2000-02-29T00:00:00.000Z", shown: "2000-02-29 00:00:00", shownInDates: "2000-02-29" },
  { cell: "9999-12-31", at: "9999-12-31T00:00:00.000Z", shown: "9999-12-31 00:00:00", shownInDates: "9999-12-31" },
  { cell: "2026-11-26 10:00:00", at: "2026-11-26T10:00:00.000Z", shown: "2026-11-26 10:00:00" },
  { cell: "2026-11-26T10:00:00.000000", at: "2026-11-26T10:00:00.000Z", shown: "2026-11-26 10:00:00" },
  { cell: "2026-11-26 10:00:00.5", at: "2026-11-26T10:00:00.500Z", shown: "2026-11-26 10:00:00.500" },
  { cell: "2026-11-26 10:00:00.0006", at: "2026-11-26T10:00:00.001Z", shown: "2026-11-26 10:00:00.001" },
  {
    cell: "2026-12-31 23:59:59.9996",
    at: "2027-01-01T00:00:00.000Z",
    shown: "2027-01-01 00:00:00",
    shownInDates: "2027-01-01",
  },
  { cell: "2026-11-26 10:00:00.5+00", at: "2026-11-26T10:00:00.500Z", shown: "2026-11-26 10:00:00.500" },
  { cell: "2038-01-19 03:14:08", at: "2038-01-19T03:14:08.000Z", shown: "2038-01-19 03:14:08" },
  { cell: "9999-12-31 23:59:59.999", at: "9999-12-31T23:59:59.999Z", shown: "9999-12-31 23:59:59.999" },
  { cell: new Date(0), at: "1970-01-01T00:00:00.000Z", shown: "1970-01-01 00:00:00" },
  { cell: new Date("2026-11-26T10:00:00.500Z"), at: "2026-11-26T10:00:00.500Z", shown: "2026-11-26 10:00:00.500" },
  // No dates, or not to every program.
  { cell: "2026-02-30", shown: "2026-02-30" },
  { cell: "2026-02-30 10:00:00", shown: "2026-02-30 10:00:00" },
  { cell: "2026-11-26 24:00:00", shown: "2026-11-26 24:00:00" },
  { cell: "2026-11-26 10:00:00Z", shown: "2026-11-26 10:00:00Z" },
  { cell: "2026-11-26 10:00:00+01", shown: "2026-11-26 10:00:00+01" },
  { cell: "2026-11-26 10:60:00", shown: "2026-11-26 10:60:00" },
  { cell: "0026-11-26", shown: "0026-11-26" },
  { cell: "0000-00-00 00:00:00", shown: "0000-00-00 00:00:00" },
  { cell: "1900-02-28", shown: "1900-02-28" },
  { cell: new Date("1900-02-28T23:59:59.999Z"), shown: "1900-02-28T23:59:59.999Z" },
  { cell: "9999-12-31 23:59:59.9999", shown: "9999-12-31 23:59:59.9999" },
];

describe("dates of XLSX are read", () => {
  const columns: Column[] = [
    { key: "d", title: "d", type: "date" },
    { key: "dt", title: "dt", type: "datetime" },
  ];
  const rows = DATES.map(({ cell }) => [cell, cell]);
  const read = DATES.map(({ at, shown }) => (at ? [{ date: at }, { date: at }] : [shown, shown]));

  testWithOpenpyxl("by openpyxl to the millisecond, what is none as text", () =>
    withWorkbook(columns, rows, async (path) => {
      expect(await openpyxlRows(path)).toEqual([["d", "dt"], ...read]);
    }),
  );

  test("by exceljs", () =>
    withWorkbook(columns, rows, async (path) => {
      expect(await exceljsRows(path, 2)).toEqual([["d", "dt"], ...read]);
    }));

  testWithLibreOffice("by LibreOffice, which shows them as databases do", () =>
    withWorkbook(columns, rows, async (path) => {
      const shown = DATES.map(({ shown, shownInDates = shown }) => [shownInDates, shown]);
      expect(await libreOfficeRows(path)).toEqual({ Sheet1: [["d", "dt"], ...shown] });
    }),
  );
});

function shown({ text, seen, shown }: Sample): string | number {
  if (typeof seen === "boolean") return text.toUpperCase();
  return typeof seen === "number" ? seen : (shown ?? text);
}

/** What LibreOffice's CSV has in its own way: 1E+076, one LF for some CR and LF; for half a surrogate pair, `?` or nothing at times. */
function fromLibreOffice(text: string, expected: unknown): unknown {
  if (typeof expected === "number") return isRounded(text, expected) ? expected : Number(text);
  if (typeof expected !== "string") return text;
  const same = !expected.isWellFormed() || withLf(text) === withLf(expected) || isSecondBefore(text, expected);
  return same ? expected : text;
}

/** It has 20 decimals of a number that it writes without a power of ten. */
function isRounded(text: string, expected: number): boolean {
  return /^-?0\.0{6}\d+$/.test(text) && Math.abs(Number(text) - expected) < 1e-20;
}

function withLf(text: string): string {
  return text.replace(/[\r\n]+/g, "\n");
}

/**
 * Within 1,000 days of 1970 LibreOffice 7.4 cuts seconds that it rounds on every other day: 03:14:08 is a double that lies
 * a microsecond before, and becomes 03:14:07.
 */
function isSecondBefore(text: string, expected: string): boolean {
  const isWholeSecond = /^19(?:6[7-9]|7[0-2])-\d\d-\d\d \d\d:\d\d:\d\d$/.test(expected);
  return isWholeSecond && Date.parse(expected) - Date.parse(text) === 1_000;
}

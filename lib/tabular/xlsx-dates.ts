import type { Cell, Column } from "./table.ts";

/** A date as a workbook has it: days since 1899-12-30, and how it is shown. */
export interface ExcelDate {
  serial: number;
  form: "date" | "datetime" | "datetimeMs";
}

const DAY_MS = 86_400_000;
const EPOCH_MS = Date.UTC(1899, 11, 30);
/** Excel counts a 29 February 1900 that never was: programs disagree on the days before. */
const FIRST_MS = Date.UTC(1900, 2, 1);
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const DATE_TEXT = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00)?)?$/;

/**
 * The date that a cell is: a Date, in UTC, or the text of a column of dates, as it stands there; to the millisecond, which
 * is as fine as Excel has it. Undefined for what is none, or is one that not every program reads alike: before March 1900.
 */
export function dateOf(cell: Cell, type: Column["type"]): ExcelDate | undefined {
  if (cell instanceof Date) return excelDate(cell.getTime(), "datetime");
  if (typeof cell !== "string" || (type !== "date" && type !== "datetime")) return undefined;
  const [, day, time = "00:00:00", fraction = "0"] = DATE_TEXT.exec(cell) ?? [];
  if (day === undefined) return undefined;
  const seconds = Date.parse(`${day}T${time}Z`);
  // 30 February is no date, though Date.parse takes it for one of March.
  if (Number.isNaN(seconds) || !new Date(seconds).toISOString().startsWith(day)) return undefined;
  return excelDate(seconds + Math.round(Number(`0.${fraction}`) * 1_000), type);
}

function excelDate(ms: number, type: "date" | "datetime"): ExcelDate | undefined {
  if (!(ms >= FIRST_MS && ms <= LAST_MS)) return undefined;
  const serial = (ms - EPOCH_MS) / DAY_MS;
  if (type === "date" && Number.isInteger(serial)) return { serial, form: "date" };
  return { serial, form: ms % 1_000 === 0 ? "datetime" : "datetimeMs" };
}

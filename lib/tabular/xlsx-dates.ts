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

const DATE_TEXT = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:\+00)?)?$/;

/**
 * The date that a cell is: a Date, in UTC, or the text of a column of dates, as it stands there or with the zone `+00`; to the millisecond, which
 * is as fine as Excel has it. Undefined for what is none, or is one that not every program reads alike: before March 1900.
 */
export function dateOf(cell: Cell, type: Column["type"]): ExcelDate | undefined {
  if (cell instanceof Date) return excelDate(cell.getTime(), "datetime");
  if (typeof cell !== "string" || (type !== "date" && type !== "datetime")) return undefined;
  const match = DATE_TEXT.exec(cell);
  if (match === null) return undefined;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const [hour, minute, second] = [Number(match[4] ?? 0), Number(match[5] ?? 0), Number(match[6] ?? 0)];
  const midnight = new Date(Date.UTC(year, month - 1, day));
  // 30 February is no date, though Date.UTC takes it for one of March, and the year 26 for 1926.
  if (midnight.getUTCDate() !== day || midnight.getUTCMonth() !== month - 1 || midnight.getUTCFullYear() !== year)
    return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const fractionMs = match[7] === undefined ? 0 : Math.round(Number(`0.${match[7]}`) * 1_000);
  return excelDate(midnight.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000 + fractionMs, type);
}

function excelDate(ms: number, type: "date" | "datetime"): ExcelDate | undefined {
  if (!(ms >= FIRST_MS && ms <= LAST_MS)) return undefined;
  const serial = (ms - EPOCH_MS) / DAY_MS;
  if (type === "date" && Number.isInteger(serial)) return { serial, form: "date" };
  return { serial, form: ms % 1_000 === 0 ? "datetime" : "datetimeMs" };
}

/** Random tables of every kind of cell, with what others must read where the cells stand. */
import fc from "fast-check";
import type { Cell, Column, Row } from "../lib/tabular/table.ts";
import { exactNumber } from "../lib/tabular/table.ts";

export interface Sample {
  cell: Cell;
  /** What CSV has for it. */
  text: string;
  /** What a workbook's reader gives, where that is not the text. */
  seen?: boolean | number | { date: string };
  /** How a workbook shows it, where that is not the text. */
  shown?: string;
}

export interface SampleTable {
  columns: Column[];
  rows: Sample[][];
}

type Samples = fc.Arbitrary<Sample>;

const piece = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 5 }),
  fc.constantFrom("_x0041_", "_x", "_", "x005F_", "x0041_", "0041", "\ud83d", "\ude00", "\ud800", "\ufffe", "\uffff"),
  fc.constantFrom(" ", "\t", "\n", "\r", "\r\n", "\u0085", "\u00a0", "\u2028", "\ufeff", "\u200b"),
  fc.constantFrom('"', ",", "'", "=", "-", "&amp;", "<", ">", "]]>", "<!--", "\\", "\u0000", "\u001f", "\u007f"),
);

/** All of Unicode and what is not. */
const shortText = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(""));

/** Up to the 32,767 UTF-16 units that a cell of a workbook holds. */
const longText = fc
  .tuple(fc.constantFrom("x", "文", "😀", " ", "a\n", '"', "&"), fc.integer({ min: 1, max: 32_767 }))
  .map(([unit, length]) => unit.repeat(Math.floor(length / unit.length)));

const text = fc.oneof(
  { weight: 20, arbitrary: shortText },
  { weight: 3, arbitrary: fc.constantFrom("1", "1.50", "-0", "1e5", "TRUE", "#N/A", "=1+1", "2026-11-26", "nan") },
  { weight: 1, arbitrary: longText },
);

const texts: Samples = text.map((text) => ({ cell: text, text }));

const nothing: Samples = fc.constantFrom(null, undefined).map((cell) => ({ cell, text: "" }));

const booleans: Samples = fc.boolean().map((cell) => ({ cell, text: String(cell), seen: cell }));

const double = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.tuple(fc.integer(), fc.integer({ min: 0, max: 8 })).map(([digits, places]) => digits / 10 ** places),
  // Up to 15 digits, and one or two beyond.
  fc
    .tuple(fc.integer({ min: 1, max: 17 }), fc.double({ noNaN: true, noDefaultInfinity: true }))
    .map(([digits, value]) => Number(value.toPrecision(digits))),
  fc.constantFrom(-0, NaN, Infinity, 1e300, 1e-300, -1e21, 1e21, 1e15, 123_456_789_012_345, 0.1 + 0.2, 2 ** 53, 5e-324),
);

/** Excel keeps 15 digits. */
const numbers: Samples = double.map((cell) =>
  Number(cell.toPrecision(15)) === cell && Number.isFinite(cell)
    ? { cell, text: String(cell), seen: cell }
    : { cell, text: String(cell) },
);

const manyDigits = fc.oneof(
  fc.bigInt({ min: 0n, max: 10n ** 6n }),
  fc.bigInt({ min: 0n, max: 10n ** 15n }),
  fc.bigInt({ min: 0n, max: 10n ** 30n }),
);

const bigints: Samples = manyDigits.chain((digits) =>
  fc.boolean().map((negative) => decimalSample(negative ? -digits : digits, String(negative ? -digits : digits))),
);

/** As JSON writes numbers; none so small that a double has fewer digits for it. */
const jsonNumber = fc
  .tuple(
    fc.constantFrom("", "-"),
    manyDigits,
    fc.oneof(fc.constant(""), fc.stringMatching(/^\.[0-9]{1,4}$/), fc.stringMatching(/^\.[0-9]{1,20}$/)),
    fc.oneof(
      fc.constant(""),
      fc.integer({ min: -280, max: 400 }).map((power) => `e${power}`),
    ),
  )
  .map((parts) => parts.join(""));

const exactNumbers: Samples = jsonNumber.map((digits) => decimalSample(exactNumber(digits), digits));

const decimals: Samples = fc
  .oneof(jsonNumber, fc.constantFrom("+1.5", ".5", "1.", "007", "-.25", "1E5", "-0.00", "1e400"))
  .map((digits) => decimalSample(digits, digits));

/** A decimal is a number to a workbook where that keeps every digit. */
function decimalSample(cell: Cell, digits: string): Sample {
  const value = Number(digits);
  const kept =
    Number.isFinite(value) &&
    normalDecimal(digits) === normalDecimal(String(value)) &&
    normalDecimal(digits).indexOf("e") <= 15;
  return kept ? { cell, text: digits, seen: value } : { cell, text: digits };
}

/** The digits of a decimal without the 0s at both ends, and the power of ten of the last; the sign aside. */
function normalDecimal(decimal: string): string {
  const [, whole = "", fraction = "", power = "0"] = /^[-+]?(\d*)\.?(\d*)(?:e([-+]?\d+))?$/i.exec(decimal)!;
  const all = whole + fraction;
  const digits = all.replace(/0+$/, "");
  const significant = digits.replace(/^0+/, "");
  return significant === "" ? "0e0" : `${significant}e${Number(power) - fraction.length + all.length - digits.length}`;
}

/** Nested values hold numbers of all kinds too. */
const nested: Samples = fc
  .oneof(
    fc.object({
      key: shortText,
      values: [shortText, double, fc.bigInt(), fc.boolean(), fc.constant(null), jsonNumber.map(exactNumber)],
      maxDepth: 2,
      maxKeys: 4,
    }),
    fc.array(fc.oneof(shortText, double, fc.bigInt()), { maxLength: 4 }),
  )
  .map((cell) => ({
    cell,
    text: JSON.stringify(cell, (_key, value: unknown) =>
      typeof value === "bigint" ? exactNumber(String(value)) : value,
    ),
  }));

const FIRST = new Date("1900-03-01T00:00:00Z");

/** Instants that a workbook has a number for, which every program reads alike. */
const instant = fc.oneof(
  fc.date({ min: FIRST, max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true }),
  fc
    .constantFrom("1900-03-01", "1904-01-01", "1904-01-02", "1970-01-01", "2000-02-29", "2038-01-19", "9999-12-31")
    .chain((day) =>
      fc
        .constantFrom("00:00:00.000", "03:14:08.000", "12:00:00.001", "23:59:59.999")
        .map((time) => new Date(`${day}T${time}Z`)),
    ),
);

const early = fc.date({ min: new Date("0001-01-01"), max: new Date(FIRST.getTime() - 1), noInvalidDate: true });

const dates: Samples = fc.oneof(
  instant.map((cell) => dateSample(cell, cell.toISOString(), cell, "datetime")),
  early.map((cell) => ({ cell, text: cell.toISOString() })),
  fc.constant({ cell: new Date(NaN), text: "" }),
);

/** Texts of a column of dates. */
function dateTexts(type: "date" | "datetime"): Samples {
  const days = instant.map((at) => {
    const day = at.toISOString().slice(0, 10);
    return dateSample(day, day, new Date(`${day}T00:00:00Z`), type);
  });
  // To more or fewer digits than milliseconds have.
  const times = fc
    .tuple(instant, fc.constantFrom("T", " "), fc.constantFrom("", "0", "0004"))
    .map(([at, separator, more]) => {
      const iso = at.toISOString();
      const fraction = `${iso.slice(20, 23)}${more}`.replace(/^0+$/, "");
      const text = `${iso.slice(0, 10)}${separator}${iso.slice(11, 19)}${fraction && `.${fraction}`}`;
      return dateSample(text, text, at, type);
    });
  const none = fc.oneof(
    early.map((at) => at.toISOString().slice(0, 10)),
    early.map((at) => at.toISOString().slice(0, 19)),
    fc.constantFrom(
      "2026-02-30",
      "2026-02-30 10:00:00",
      "2023-02-29",
      "2026-13-01",
      "0000-00-00",
      "0000-00-00 00:00:00",
    ),
    fc.constantFrom(
      "2026-11-26 24:00:00",
      "2026-11-26 10:60:00",
      "2026-11-26 23:59:60",
      "2026-11-26 10:00",
      "10000-01-01",
    ),
    fc.constantFrom(
      "2026-11-26T10:00:00Z",
      "2026-11-26 10:00:00+08:00",
      " 2026-11-26",
      "2026-11-26\n",
      "9999-12-31 23:59:59.9999",
    ),
    shortText,
  );
  return fc.oneof(
    days,
    times,
    none.map((text) => ({ cell: text, text })),
  );
}

function dateSample(cell: Cell, text: string, at: Date, type: "date" | "datetime"): Sample {
  const iso = at.toISOString();
  const midnight = iso.endsWith("T00:00:00.000Z");
  const shown = iso.replace("T", " ").replace("Z", "").replace(".000", "");
  return { cell, text, seen: { date: iso }, shown: type === "date" && midnight ? shown.slice(0, 10) : shown };
}

const cellsOfAnyColumn = fc.oneof(nothing, booleans, numbers, bigints, exactNumbers, dates, nested);

const cellsByType = {
  any: fc.oneof({ weight: 2, arbitrary: texts }, { weight: 3, arbitrary: cellsOfAnyColumn }),
  number: fc.oneof(decimals, cellsOfAnyColumn),
  date: fc.oneof({ weight: 2, arbitrary: dateTexts("date") }, cellsOfAnyColumn),
  datetime: fc.oneof({ weight: 2, arbitrary: dateTexts("datetime") }, cellsOfAnyColumn),
};

/** Tables of some hundred rows, so that a program need not be started for each. */
const sampleTable: fc.Arbitrary<SampleTable> = fc
  .array(fc.constantFrom("any", "any", "number", "date", "datetime"), { minLength: 1, maxLength: 6 })
  .chain((types) =>
    fc.record({
      columns: fc.tuple(
        ...types.map((type, index) =>
          // Each title and key is another, and none is empty.
          fc.record({ key: shortText, title: shortText }).map(({ key, title }) => ({
            key: key + index,
            title: title + index,
            ...(type === "any" ? {} : { type }),
          })),
        ),
      ),
      rows: fc.array(fc.tuple(...types.map((type) => cellsByType[type])), {
        minLength: 200,
        maxLength: 400,
        size: "max",
      }),
    }),
  );

/** Checks some tables. A failure tells its own message: no one reads a table of hundreds of rows, however small it could be. */
export async function forSampleTables(numRuns: number, check: (table: SampleTable) => Promise<void>): Promise<void> {
  const options = { numRuns, endOnFailure: true };
  const result = await fc.check(fc.asyncProperty(sampleTable, check), options);
  if (!result.failed) return;
  const { seed, counterexamplePath, errorInstance } = result;
  const { message } = errorInstance as Error;
  throw new Error(`{ seed: ${seed}, path: "${counterexamplePath}" }: ${message}`, { cause: errorInstance });
}

/** The cells of a table. */
export function cellsOf(table: SampleTable): Row[] {
  return table.rows.map((row) => row.map(({ cell }) => cell));
}

/** The titles, and what a reader gives for each cell. */
export function withTitles<T>({ columns, rows }: SampleTable, read: (sample: Sample) => T): (string | T)[][] {
  return [columns.map(({ title }) => title), ...rows.map((row) => row.map(read))];
}

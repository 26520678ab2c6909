import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { formatOf } from "../../../../lib/sources/xlsx-formats.ts";
import type { XlsxFileOptions } from "../../../../lib/sources/xlsx-file.ts";
import { openXlsxFile } from "../../../../lib/sources/xlsx-file.ts";
import { withTable } from "../../../table-files.ts";
import { withTempDir } from "../../../temp-dir.ts";
import type { WorkbookContent } from "../../../uploaded-files.ts";
import { inPieces, libreOfficeBytes, openpyxlWorkbook, readAll } from "../../../uploaded-files.ts";
import { testWithLibreOffice, testWithOpenpyxl } from "../../../workbook-readers.ts";

const signal = new AbortController().signal;

/** Reads a workbook; whatever comes of it, no file of it is left. */
function read(bytes: Uint8Array, options: Partial<XlsxFileOptions> = {}) {
  return withTempDir(async (directory) => {
    try {
      return await readAll(await openXlsxFile(inPieces(bytes, 50_000), { signal, directory, ...options }));
    } finally {
      expect(await readdir(directory)).toEqual([]);
    }
  });
}

const SHEET = "xl/worksheets/sheet1.xml";

/** A workbook whose first sheet has these rows as XML. */
function withRows(rows: string, parts: WorkbookContent["parts"] = {}): Promise<Buffer> {
  const namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
  const sheet = `<?xml version="1.0"?><worksheet xmlns="${namespace}"><sheetData>${rows}</sheetData></worksheet>`;
  return openpyxlWorkbook({ sheets: { a: [["x"]] }, parts: { [SHEET]: sheet, ...parts } });
}

const HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c><c r="B1" t="str"><v>b</v></c></row>';

describe("a workbook by openpyxl", () => {
  testWithOpenpyxl("has its texts, numbers, booleans, dates and times", async () => {
    const bytes = await openpyxlWorkbook({
      sheets: {
        one: [
          ["text", "number", "flag", "when", "time"],
          ["&lt;b&gt; 中文", 1.5, true, { date: "2026-11-26T10:00:00.250" }, { time: "09:30:00" }],
          [],
          [null, -3, false, { date: "1900-03-01" }, null],
          ["x", 12345678901234, null, { date: "2026-11-26" }],
        ],
        two: [["other"], [1]],
      },
    });
    expect(await read(bytes)).toEqual({
      titles: ["text", "number", "flag", "when", "time"],
      rows: [
        ["&lt;b&gt; 中文", 1.5, true, new Date("2026-11-26T10:00:00.250Z"), "09:30:00"],
        [null, -3, false, new Date("1900-03-01T00:00:00Z"), null],
        ["x", 12345678901234, null, new Date("2026-11-26T00:00:00Z"), null],
      ],
      numbers: [2, 4, 5],
      refused: [],
    });
    expect((await read(bytes, { sheet: "two" })).rows).toEqual([[1]]);
    await expect(read(bytes, { sheet: "three" })).rejects.toThrow('only the sheets "one", "two"');
  });

  testWithOpenpyxl("that counts from 1904 has the same dates", async () => {
    const when = { date: "2026-11-26T10:00:00" };
    const { rows } = await read(await openpyxlWorkbook({ sheets: { a: [["a"], [when]] }, from1904: true }));
    expect(rows).toEqual([[new Date("2026-11-26T10:00:00Z")]]);
  });

  testWithOpenpyxl("has any text and number as it was", async () => {
    // openpyxl writes 16 digits of a number. Of control characters it writes none; a carriage return XML takes for a line feed.
    const text = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 20 })
      .filter((text) => text.isWellFormed() && !/[\p{Cc}\ufffe\uffff]|^=|_x[0-9a-f]{4}_/iu.test(text));
    const number = fc.tuple(fc.integer(), fc.nat(9)).map(([digits, places]) => digits / 10 ** places + 0);
    const row = fc.tuple(text, number, fc.boolean(), fc.constant("end"));
    const property = fc.asyncProperty(fc.array(row, { minLength: 50, maxLength: 200 }), async (rows) => {
      const all = await read(await openpyxlWorkbook({ sheets: { a: [["a", "b", "c", "d"], ...rows] } }));
      expect(all.rows).toEqual(rows);
    });
    await fc.assert(property, { numRuns: 8, endOnFailure: true });
  });
});

describe("a workbook", () => {
  testWithOpenpyxl("has the runs of rich text, and not how it is spoken", async () => {
    const texts = `<sst><si><t>漢字</t><rPh sb="0" eb="2"><t>カンジ</t></rPh></si>
      <si><r><rPr><b/></rPr><t xml:space="preserve">bold </t></r>
        <r><t>plain</t></r></si></sst>`;
    const rows = `${HEADER}<row r="2"><c r="A2" t="s"><v>0</v></c>
      <c r="B2" t="s">
        <v>1</v>
      </c></row><row r="3"><c r="A3" t="inlineStr"><is><r><t>one </t></r>
      <r><t>two</t></r><rPh sb="0" eb="1"><t>spoken</t></rPh></is></c></row>`;
    const { rows: read3 } = await read(await withRows(rows, { "xl/sharedStrings.xml": texts }));
    expect(read3).toEqual([
      ["漢字", "bold plain"],
      ["one two", null],
    ]);
  });

  testWithOpenpyxl("has the results of formulas, of every type", async () => {
    const rows = `${HEADER}<row r="2"><c r="A2" t="b"><f>TRUE()</f><v>1</v></c><c r="B2"><f>1&lt;2</f><v>0.1</v></c></row>
      <row><c t="str"><f>"a"</f><v>&amp;lt;&#x41;</v></c><c t="d"><v>2026-11-26T10:00:00</v></c></row>
      <row r="9"><c r="A9"><f>A1</f></c><c r="B9" t="str"><v><![CDATA[<&>]]></v></c></row>`;
    expect(await read(await withRows(rows))).toMatchObject({
      rows: [
        [true, 0.1],
        ["&lt;A", new Date("2026-11-26T10:00:00Z")],
        [null, "<&>"],
      ],
      numbers: [2, 3, 9],
    });
  });

  testWithOpenpyxl("may have names with prefixes", async () => {
    const rows = `<x:row r="1"><x:c r="A1" t="str"><x:v>a</x:v></x:c></x:row><x:row r="2"><x:c r="A2"><x:v>7</x:v></x:c></x:row>`;
    expect((await read(await withRows(rows))).rows).toEqual([[7]]);
  });

  testWithOpenpyxl("goes on after a row with an error, or beyond the header", async () => {
    const rows = `${HEADER}<row r="2"><c r="A2" t="str"><v>x</v></c><c r="B2" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>
      <row r="3"><c r="AB3"><v>1</v></c></row><row r="4"><c r="A4" t="s"><v>99</v></c></row>
      <row r="5"><c r="A5"><v>1e999</v></c></row><row r="6"><c r="A6"><v>6</v></c></row>`;
    const { rows: kept, refused } = await read(await withRows(rows));
    expect(kept).toEqual([[6, null]]);
    expect(refused.map(({ number, reason }) => `${number}: ${reason}`)).toEqual([
      "2: the cell B2 holds #DIV/0!",
      "3: has a value in column AB, where the header has none",
      "4: the cell A4 holds the text 99, which the file does not have",
      "5: the cell A5 holds no number: 1e999",
    ]);
    expect(refused[0]!.cells).toEqual(["x"]);
  });

  test.each([
    ["", /empty/],
    [`${HEADER}<row r="1"><c r="A1"><v>1</v></c></row>`, /not in order after row 1/],
    [`${HEADER}<row r="1048577"><c><v>1</v></c></row>`, /more than 1048576 rows/],
    [`${HEADER}<row r="2"><c r="XFE2"><v>1</v></c></row>`, /row 2 has more than 16384 columns/],
    [`${HEADER}<row r="2"><c r="ABCD2"><v>1</v></c></row>`, /cell at "ABCD2"/],
    [`${HEADER}<row r="2"><c r="A2" t="str"><v>&unknown;</v></c></row>`, /unknown entity/],
    [`${HEADER}<!DOCTYPE x [<!ENTITY a "b">]>`, /document type/],
    [
      `${HEADER}<row r="2"><c r="A2" t="str"><v>${"x".repeat(2_000_000)}</v></c></row>`,
      /row 2 is longer|text of more than/,
    ],
    ['<row r="1"><c r="A1"><v>1</v></c><c r="C1"><v>1</v></c></row>', /no name for column 2/],
  ])("is refused where its sheet cannot be read: %#", async (rows, reason) => {
    await expect(read(await withRows(rows))).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringMatching(reason),
    });
  });

  testWithOpenpyxl("is refused where it is none", async () => {
    const whole = await withRows(HEADER);
    await expect(read(Buffer.from("a,b\n1,2\n"))).rejects.toThrow(/no XLSX workbook/);
    await expect(read(whole.subarray(0, 2_000))).rejects.toThrow(/no XLSX workbook/);
    await expect(read(await withRows(HEADER, { "xl/workbook.xml": null }))).rejects.toThrow(/no xl\/workbook.xml/);
    const broken = Buffer.from(whole);
    const sheet = broken.indexOf(SHEET);
    broken.fill(0xff, sheet + SHEET.length, sheet + SHEET.length + 20);
    await expect(read(broken)).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
  });

  testWithOpenpyxl("is unpacked only up to a limit", async () => {
    const long = `${HEADER}${"<row><c><v>1</v></c></row>".repeat(400_000)}`;
    const bytes = await withRows(long);
    expect(bytes.byteLength).toBeLessThan(100_000);
    const limits = { maxUnpackedBytes: 1_000_000 };
    await expect(read(bytes, { limits })).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
    const shared = await withRows(HEADER, {
      "xl/sharedStrings.xml": `<sst>${"<si><t>x</t></si>".repeat(100_000)}</sst>`,
    });
    await expect(read(shared, { maxSharedBytes: 1_000_000 })).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
  });

  testWithOpenpyxl("can be left, and stopped", async () => {
    const bytes = await withRows(`${HEADER}${"<row><c><v>1</v></c></row>".repeat(400_000)}`);
    await withTempDir(async (directory) => {
      const controller = new AbortController();
      const left = await openXlsxFile(inPieces(bytes, 1_000), { signal, directory });
      for await (const _ of left.batches) break;
      await left.close();
      const stopped = await openXlsxFile(inPieces(bytes, 1_000), { signal: controller.signal, directory });
      await expect(async () => {
        for await (const _ of stopped.batches) controller.abort();
      }).rejects.toMatchObject({ name: "AbortError" });
      await stopped.close();
      expect(await readdir(directory)).toEqual([]);
    });
  });

  testWithLibreOffice("by LibreOffice has the same rows", async () => {
    const csv = 'name,n,at\n"a ""b"", c",1.5,2026-11-26\n李雷,-2,2026-11-27\n';
    expect((await read(await libreOfficeBytes(csv, "csv", "xlsx"))).rows).toEqual([
      ['a "b", c', 1.5, new Date("2026-11-26T00:00:00Z")],
      ["李雷", -2, new Date("2026-11-27T00:00:00Z")],
    ]);
  });

  test("of ours with 200,000 rows is read in constant memory", async () => {
    const columns = ["a", "b", "c", "d"].map((key) => ({ key, title: key }));
    async function* rows() {
      for (let from = 0; from < 200_000; from += 1_000) {
        yield Array.from({ length: 1_000 }, (_, i) => [`text ${from + i}`, from + i, new Date(from + i), "中文"]);
      }
    }
    const script = `
      import { createReadStream } from "node:fs";
      import { openXlsxFile } from ${JSON.stringify(new URL("../../../../lib/sources/xlsx-file.ts", import.meta.url))};
      const [path, directory] = process.argv.slice(1);
      const signal = new AbortController().signal;
      const file = await openXlsxFile(createReadStream(path), { directory, signal });
      const before = process.memoryUsage().rss;
      let most = 0, last;
      for await (const { rows } of file.batches) [most, last] = [Math.max(most, process.memoryUsage().rss), rows.at(-1)];
      console.log(JSON.stringify({ ...file.position(), last, grown: Math.round((most - before) / 2 ** 20) }));
      await file.close();`;
    await withTable(columns, rows(), {}, (path) =>
      withTempDir(async (directory) => {
        const args = ["--max-semi-space-size=4", "--input-type=module", "-e", script, path, directory];
        const { stdout } = await promisify(execFile)(process.execPath, args, { env: {} });
        const all = JSON.parse(stdout) as { rows: number; last: unknown[]; grown: number };
        expect(all).toMatchObject({ rows: 200_000, last: ["text 199999", 199_999, expect.any(String), "中文"] });
        expect(all.grown).toBeLessThan(100);
      }),
    );
  });
});

test.each([
  ["General", "number"],
  ["0.00", "number"],
  ['#,##0.00 "days"', "number"],
  ["[Red]0;[Blue]-0", "number"],
  ["[h]:mm:ss", "number"],
  ["yyyy-mm-dd", "date"],
  ["mmm", "date"],
  ["[$-409]d/m/yy h:mm AM/PM;@", "date"],
  ['yyyy"年"m"月"', "date"],
  ["h:mm", "time"],
  ["mm:ss.0", "time"],
  ["0\\d", "number"],
  ["_-* #,##0_-", "number"],
])("the format %s shows a %s", (code, format) => {
  expect(formatOf(code)).toBe(format);
});

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import ExcelJS from "exceljs";
import { RowCursor } from "../../../../lib/tabular/row-cursor.ts";
import type { Column, Row } from "../../../../lib/tabular/table.ts";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import type { XlsxOptions } from "../../../../lib/tabular/xlsx.ts";
import { writeXlsx } from "../../../../lib/tabular/xlsx.ts";
import { collect, hasOpenpyxl, readWorkbook, readWorkbookForm, unescape, unpack } from "../../../table-files.ts";
import { withTempDir } from "../../../temp-dir.ts";

async function* batchesOf(rows: readonly Row[]): AsyncGenerator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += 3) yield rows.slice(from, from + 3);
}

function columns(...titles: string[]): Column[] {
  return titles.map((title, index) => ({ key: `c${index}`, title }));
}

function xlsx(of: Column[], batches: AsyncIterable<readonly Row[]>, options: Partial<XlsxOptions> = {}) {
  return writeXlsx(of, new RowCursor(batches), Infinity, {
    level: 1,
    title: "a <title>",
    createdAt: new Date(),
    longText: "fail",
    onTruncated: () => {},
    ...options,
  });
}

/** Writes a workbook and hands its path over. */
function withWorkbook<T>(of: Column[], rows: Row[], body: (path: string) => Promise<T>): Promise<T> {
  return withTempDir(async (directory) => {
    const path = join(directory, "a.xlsx");
    await writeFile(path, await collect(xlsx(of, batchesOf(rows))));
    return body(path);
  });
}

const ROW: Row = [1, -1.5, "文本 & <b>", true, false, null, 2n ** 70n, exactNumber("0.12345678901234567890"), "=1+1"];
const READ = [1, -1.5, "文本 & <b>", true, false, null, "1180591620717411303424", "0.12345678901234567890", "=1+1"];

describe("XLSX", () => {
  const describeWithOpenpyxl = hasOpenpyxl ? describe : describe.skip;
  const titles = ROW.map((_, index) => `=title ${index}`);

  describeWithOpenpyxl("as openpyxl reads it", () => {
    test("holds every kind of cell, with no digit lost", () =>
      withWorkbook(columns(...titles), [ROW], async (path) => {
        expect(await readWorkbook(path)).toEqual([{ name: "Sheet1", rows: [titles, READ] }]);
      }));

    test("types texts as texts, never as formulas", () =>
      withWorkbook(columns(...titles), [ROW], async (path) => {
        const [sheet] = await readWorkbookForm(path);
        const flat = sheet!.types.flat();
        expect(flat).not.toContain("f");
        expect(sheet!.types[1]!.slice(0, 5)).toEqual(["n", "n", expect.stringMatching(/^(s|inlineStr)$/), "b", "b"]);
      }));

    test("has a bold frozen header, and columns as wide as their first rows", () =>
      withWorkbook(columns("id", "名称"), [[1, "汉".repeat(20)]], async (path) => {
        const [sheet] = await readWorkbookForm(path);
        expect(sheet).toMatchObject({ freeze: "A2", bold: true, widths: [8, 42] });
      }));

    test("keeps white space, line ends, control characters and what looks like an escape", () => {
      const texts = [" both ends ", "two\nlines", "tab\there", "\n", "_x0041_", "a\rb", "\u0001", "😀"];
      return withWorkbook(
        columns("t"),
        texts.map((text) => [text]),
        async (path) => {
          const [sheet] = await readWorkbook(path);
          const read = sheet!.rows.slice(1).map(([text]) => unescape(text as string));
          expect(read).toEqual(texts);
        },
      );
    });

    test("writes numbers of a numeric column as numbers, up to 15 digits", () =>
      withWorkbook(
        [{ key: "m", title: "m", type: "number" }],
        [["-12.50"], ["12345678901234567.5"], ["n/a"]],
        async (path) => {
          const [sheet] = await readWorkbook(path);
          expect(sheet!.rows).toEqual([["m"], [-12.5], ["12345678901234567.5"], ["n/a"]]);
        },
      ));
  });

  test("is read by exceljs", () =>
    withWorkbook(
      columns("a", "b"),
      [
        [1, "x"],
        [null, true],
      ],
      async (path) => {
        const book = new ExcelJS.Workbook();
        await book.xlsx.readFile(path);
        const sheet = book.worksheets[0]!;
        expect(sheet.rowCount).toBe(3);
        expect([sheet.getCell("A2").value, sheet.getCell("B2").value, sheet.getCell("B3").value]).toEqual([
          1,
          "x",
          true,
        ]);
      },
    ));

  test("is a zip without ZIP64 fields, which Excel would warn of, and known by its first bytes", () =>
    withWorkbook(columns("a"), [[1]], async (path) => {
      const names = (await unpack(path)).map((file) => file.name);
      expect(names[0]).toBe("_rels/.rels");
      expect(names).toContain("[Content_Types].xml");
      const { stdout } = await promisify(execFile)("unzip", ["-Z", "-v", path]);
      expect(stdout).toContain("minimum software version required to extract:   2.0");
      expect(stdout).not.toContain("PKWARE 64-bit sizes");
    }));

  test("writes numbers that are none as text", () =>
    withWorkbook(columns("a"), [[NaN], [-Infinity]], async (path) => {
      const sheet = (await unpack(path)).find((file) => file.name.endsWith("sheet1.xml"));
      expect(sheet!.content.toString()).toContain('t="inlineStr"><is><t>NaN</t>');
      expect(sheet!.content.toString()).toContain('t="inlineStr"><is><t>-Infinity</t>');
    }));

  test("goes on in a second sheet, with the header again, when the first is full", async () => {
    const total = 1_048_575 + 3;
    async function* batches(): AsyncGenerator<readonly Row[]> {
      for (let from = 0; from < total; from += 5000) {
        yield Array.from({ length: Math.min(5000, total - from) }, (_, index) => [from + index]);
      }
    }
    await withTempDir(async (directory) => {
      const path = join(directory, "a.xlsx");
      await writeFile(path, await collect(xlsx(columns("id"), batches())));
      const files = await unpack(path);
      const sheets = files.filter((file) => file.name.startsWith("xl/worksheets/"));
      const workbook = files.find((file) => file.name === "xl/workbook.xml")!.content.toString();
      expect(workbook.match(/name="Sheet\d"/g)).toEqual(['name="Sheet1"', 'name="Sheet2"']);
      const [first, second] = sheets.map((sheet) => sheet.content.toString());
      expect(sheets).toHaveLength(2);
      expect(first!.match(/<row /g)).toHaveLength(1_048_576);
      expect(first).toContain('<row r="1048576"><c r="A1048576"><v>1048574</v></c></row></sheetData>');
      expect(second!.match(/<t xml:space="preserve">id<\/t>/g)).toHaveLength(1);
      expect(second!.match(/<v>\d+<\/v>/g)).toEqual(["<v>1048575</v>", "<v>1048576</v>", "<v>1048577</v>"]);
    });
  });

  test("fails on a text over 32,767 characters, naming its place", async () => {
    const rows = [["short"], ["x".repeat(32_768)]];
    await expect(collect(xlsx(columns("the title"), batchesOf(rows)))).rejects.toThrow(
      'row 3, column "the title": the text has 32768 characters; a cell of Excel holds 32767',
    );
    await collect(xlsx(columns("t"), batchesOf([["x".repeat(32_767)]])));
  });

  test("or truncates it when told so, not within an emoji, and says how often", () =>
    withTempDir(async (directory) => {
      let truncated = 0;
      const path = join(directory, "a.xlsx");
      const rows = [["x".repeat(32_766) + "😀"], ["y".repeat(40_000)]];
      const options = { longText: "truncate" as const, onTruncated: () => truncated++ };
      await writeFile(path, await collect(xlsx(columns("t"), batchesOf(rows), options)));
      const sheet = (await unpack(path)).find((file) => file.name.endsWith("sheet1.xml"))!.content.toString();
      expect(truncated).toBe(2);
      expect([...sheet.matchAll(/<t>(x+|y+)<\/t>/g)].map((match) => match[1]!.length)).toEqual([32_766, 32_767]);
    }));

  test("refuses more columns than a sheet holds", () => {
    const tooMany = columns(...Array.from({ length: 16_385 }, (_, index) => `c${index}`));
    expect(() => xlsx(tooMany, batchesOf([]))).toThrow("the table has 16385 columns");
  });
});

import { describe, expect, test } from "@jest/globals";
import type { Row } from "../../../../lib/tabular/table.ts";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import { firstDifference, readLargeWorkbook, readProperties, readWorkbook } from "../../../table-files.ts";
import {
  exceljsRows,
  libreOfficeRows,
  openpyxlRows,
  testWithLibreOffice,
  testWithOpenpyxl,
  withWorkbook,
} from "../../../workbook-readers.ts";

describe("the ends of XLSX", () => {
  const width = 16_384;
  const wide = Array.from({ length: width }, (_, index) => ({ key: `k${index}`, title: `t${index}` }));
  const numbers = wide.map((_, index) => index);

  testWithOpenpyxl("16,384 columns are read by openpyxl", () =>
    withWorkbook(wide, [numbers], async (path) => {
      expect(firstDifference(await openpyxlRows(path), [wide.map(({ title }) => title), numbers])).toBeUndefined();
    }),
  );

  testWithLibreOffice("and by LibreOffice", () =>
    withWorkbook(wide, [numbers], async (path) => {
      const expected = [wide.map(({ title }) => title), numbers.map(String)];
      expect(firstDifference((await libreOfficeRows(path)).Sheet1!, expected)).toBeUndefined();
    }),
  );

  test("1,100,000 rows are read by Python, header and rest in a second sheet", () => {
    async function* batches(): AsyncGenerator<readonly Row[]> {
      for (let from = 0; from < 1_100_000; from += 5_000) {
        yield Array.from({ length: 5_000 }, (_, index) => [from + index, `row ${from + index}`]);
      }
    }
    const columns = ["id", "text"].map((title) => ({ key: title, title }));
    return withWorkbook(columns, batches(), async (path) => {
      expect(await readLargeWorkbook(path)).toEqual([
        {
          rows: 1_048_576,
          first: [
            ["id", "text"],
            ["0", "row 0"],
          ],
          last: ["1048574", "row 1048574"],
        },
        {
          rows: 51_426,
          first: [
            ["id", "text"],
            ["1048575", "row 1048575"],
          ],
          last: ["1099999", "row 1099999"],
        },
      ]);
    });
  });
});

test.each(["1e-400", "-1.23456e-320", "1e400"])("%s, for which no double has the digits, stays text", (digits) =>
  withWorkbook([{ key: "a", title: "a" }], [[exactNumber(digits)]], async (path) => {
    expect(await exceljsRows(path, 1)).toEqual([["a"], [digits]]);
  }),
);

describe("beside its rows XLSX", () => {
  const columns = [{ key: "a", title: "a" }];
  const summary = (rows: number) =>
    [
      ["Title", "2026"],
      ["Source", "<https://example.com/?a=1&b=2>"],
      ["Begun", new Date("2026-11-26T10:00:00Z")],
      ["Complete", true],
      ["Total", 2n ** 70n],
      ["Of", null],
      ["Rows", rows],
    ] as const;

  testWithOpenpyxl("has a last sheet that tells of it, as openpyxl reads", () =>
    withWorkbook(
      columns,
      [["x"], ["y"]],
      async (path) => {
        expect(await readWorkbook(path)).toEqual([
          { name: "Sheet1", rows: [["a"], ["x"], ["y"]] },
          {
            name: "Summary",
            rows: [
              ["Title", "2026"],
              ["Source", "<https://example.com/?a=1&b=2>"],
              ["Begun", { date: "2026-11-26T10:00:00.000Z" }],
              ["Complete", true],
              ["Total", "1180591620717411303424"],
              ["Of", null],
              ["Rows", 2],
            ],
          },
        ]);
      },
      { summary },
    ),
  );

  testWithLibreOffice("and LibreOffice", () =>
    withWorkbook(
      columns,
      [["x"], ["y"]],
      async (path) => {
        expect(await libreOfficeRows(path)).toEqual({
          Sheet1: [["a"], ["x"], ["y"]],
          Summary: [
            ["Title", "2026"],
            ["Source", "<https://example.com/?a=1&b=2>"],
            ["Begun", "2026-11-26 10:00:00"],
            ["Complete", "TRUE"],
            ["Total", "1180591620717411303424"],
            ["Of", ""],
            ["Rows", "2"],
          ],
        });
      },
      { summary },
    ),
  );

  testWithOpenpyxl("has properties, as openpyxl reads them", () =>
    withWorkbook(
      columns,
      [],
      async (path) => {
        expect(await readProperties(path)).toEqual({
          title: ' <"报表"> & 😀 _x005F_x0041_ ',
          creator: "O'Neill & <sons>",
          description: "for <us> & 们",
          created: "2026-11-26T10:00:00",
          modified: "2026-11-26T10:00:00",
          application: "Longshore",
        });
      },
      {
        title: ' <"报表"> & 😀 _x0041_ ',
        author: "O'Neill & <sons>",
        description: "for <us> & 们",
        createdAt: new Date("2026-11-26T10:00:00.123Z"),
      },
    ),
  );
});

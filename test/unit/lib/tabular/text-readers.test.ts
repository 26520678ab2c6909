import { execFile } from "node:child_process";
import { createReadStream, createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import type { Cell } from "../../../../lib/tabular/table.ts";
import { isExactNumber } from "../../../../lib/tabular/table.ts";
import type { ZipEntry } from "../../../../lib/tabular/zip.ts";
import { writeZip } from "../../../../lib/tabular/zip.ts";
import { cellsOf, forSampleTables, withTitles } from "../../../table-arbitraries.ts";
import { firstDifference, readCsv, readJsonl, sevenZip, unpack, withTable } from "../../../table-files.ts";

const run = promisify(execFile);

describe("any table is read from CSV by Python", () => {
  test.each([
    ["CSV", "utf-8"],
    ["CSV_BOM", "utf-8-sig"],
    ["CSV_GB18030", "gb18030"],
  ] as const)("written as %s, read as %s", (extType, encoding) =>
    forSampleTables(5, (table) =>
      withTable(table.columns, cellsOf(table), { extType }, async (path) => {
        const read = (await readCsv(path, encoding)).map((row) => row.map(asEncoded));
        const expected = withTitles(table, ({ text }) => text).map((row) => row.map(asEncoded));
        expect(firstDifference(read, expected)).toBeUndefined();
      }),
    ),
  );

  test("all of Unicode in GB18030", async () => {
    const rows: string[][] = [];
    for (let code = 0x80; code <= 0x10ffff; code++) {
      if (code % 64 === 0) rows.push([""]);
      if (code < 0xd800 || code > 0xdfff) rows.at(-1)![0] += String.fromCodePoint(code);
    }
    await withTable([{ key: "a", title: "a" }], rows, { extType: "CSV_GB18030" }, async (path) => {
      const read = (await readCsv(path, "gb18030")).map((row) => row.map(asEncoded));
      const expected = [["a"], ...rows].map((row) => row.map(asEncoded));
      expect(firstDifference(read, expected)).toBeUndefined();
    });
  });

  /**
   * Half a surrogate pair becomes U+FFFD in each encoding. Of GB18030 Python has the edition of 2000, in which U+1E3F and
   * U+E7C7 had each other's code; U+E5E5 is told of below.
   */
  function asEncoded(text: string): string {
    return text.toWellFormed().replaceAll("\ue7c7", "\u1e3f").replaceAll("\ue5e5", "?");
  }
});

// iconv-lite would write it with the code of U+F5F9; other encoders have A3A0 for it, or none as browsers do.
test("U+E5E5, which is for private use, does not become another character in GB18030", () =>
  withTable([{ key: "a", title: "a" }], [["\ue5e5"]], { extType: "CSV_GB18030" }, async (path) => {
    expect((await readCsv(path, "gb18030"))[1]).toEqual(["?"]);
  }));

describe("any table is read from JSONL by Python", () => {
  test("each number in its very digits", () =>
    forSampleTables(5, (table) =>
      withTable(table.columns, cellsOf(table), { extType: "JSONL" }, async (path) => {
        const expected = cellsOf(table).map((row) =>
          table.columns.map(({ key }, index) => [key, inPython(row[index])]),
        );
        expect(firstDifference(await readJsonl(path), expected)).toBeUndefined();
      }),
    ));

  function inPython(cell: Cell): unknown {
    if (cell === undefined) return null;
    if (typeof cell === "number") return Number.isFinite(cell) ? { number: String(cell) } : null;
    if (typeof cell === "bigint") return { number: String(cell) };
    if (typeof cell !== "object" || cell === null) return cell;
    if (isExactNumber(cell)) return { number: cell.rawJSON };
    if (cell instanceof Date) return Number.isNaN(cell.getTime()) ? null : cell.toISOString();
    if (Array.isArray(cell)) return cell.map(inPython);
    return Object.entries(cell).map(([key, value]) => [key, inPython(value as Cell)]);
  }
});

test("a CSV in a zip is found whole by unzip, 7-Zip and Python", () =>
  forSampleTables(3, (table) =>
    withTable(table.columns, cellsOf(table), { extType: "CSV" }, async (path) => {
      const zipPath = `${path}.zip`;
      async function* entries(): AsyncGenerator<ZipEntry> {
        yield { name: "报表 1.csv", content: createReadStream(path) };
      }
      await pipeline(writeZip(entries(), { level: 6, modifiedAt: new Date() }), createWriteStream(zipPath));
      await run("unzip", ["-tqq", zipPath]);
      expect(sevenZip("t", zipPath)).toMatchObject({ code: 0 });
      const [file] = await unpack(zipPath);
      expect(file!.name).toBe("报表 1.csv");
      expect(file!.content.equals(await readFile(path))).toBe(true);
    }),
  ));

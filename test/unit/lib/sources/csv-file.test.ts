import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { CsvFileOptions } from "../../../../lib/sources/csv-file.ts";
import { openCsvFile } from "../../../../lib/sources/csv-file.ts";
import { inPieces, pythonCsv, readAll } from "../../../uploaded-files.ts";

const signal = new AbortController().signal;

async function read(content: string | Buffer, options: Partial<CsvFileOptions> = {}, pieceSize = 7) {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return readAll(await openCsvFile(inPieces(bytes, pieceSize), { encoding: "utf8", signal, ...options }));
}

describe("a CSV file", () => {
  test("is read with its line numbers", async () => {
    expect(await read('a,b\r\n1,"x\r\ny"\r\n\r\n2,""\r\n')).toEqual({
      titles: ["a", "b"],
      rows: [
        ["1", "x\r\ny"],
        ["2", ""],
      ],
      numbers: [2, 5],
      refused: [],
    });
  });

  test("goes on after a row with another number of fields", async () => {
    expect(await read('a,b\n1\n"x\ny",2,3\n4,5\n')).toEqual({
      titles: ["a", "b"],
      rows: [["4", "5"]],
      numbers: [5],
      refused: [
        { number: 2, reason: "has 1 fields, and the header has 2", cells: ["1"] },
        { number: 3, reason: "has 3 fields, and the header has 2", cells: ["x\ny", "2", "3"] },
      ],
    });
  });

  test.each([
    ["", /empty/],
    ["\n\n", /empty/],
    ["a,,c\n1,2,3\n", /no name for column 2/],
    ["a,b,a\n", /"a" twice/],
    ['a,b\n1,x"y\n2,3\n', /quote is within a field of the row after line 1/],
    ['a,b\n1,2\n1,"x"y\n', /quote is within a field of the row after line 2/],
    ['a,b\n1,2\n\n1,"x\n', /quote of the row after line 2 is not closed/],
    [`a,b\n1,2\n1,${"x".repeat(2_000)}\n`, /after line 2 is longer than 1000 bytes/],
    [`a,b\n1,2\n1,"${"x\n".repeat(1_000)}"\n`, /after line 2 is longer than 1000 bytes/],
    ["a,b,c,d,e\n", /5 columns; at most 4/],
    [Buffer.from("a\n\xe9\n", "latin1"), /not in UTF-8/],
    [Buffer.from([0x61, 0x0a, 0xe4, 0xb8]), /not in UTF-8/],
  ])("is refused where it cannot be read: %#", async (content, reason) => {
    const limits = { maxRowBytes: 1_000, maxColumns: 4 };
    await expect(read(content, { limits })).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringMatching(reason),
    });
  });

  test("is refused in another encoding", async () => {
    await expect(read(Buffer.from([0x61, 0x0a, 0xff, 0x41]), { encoding: "gbk" })).rejects.toThrow(/not in GBK/);
    await expect(read(Buffer.from([0x61, 0x0a, 0xc4]), { encoding: "gb18030" })).rejects.toThrow(/not in GB18030/);
  });

  test("may be packed, up to a limit", async () => {
    const text = `a,b\n${"1,2\n".repeat(100_000)}`;
    expect((await read(gzipSync(text))).rows).toHaveLength(100_000);
    const limits = { maxUnpackedBytes: 100_000 };
    await expect(read(gzipSync(text), { limits })).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
    await expect(read(gzipSync(text).subarray(0, 300))).rejects.toThrow(/cannot be unpacked/);
  });

  test("can be left, and stopped", async () => {
    let closed = 0;
    async function* endless() {
      try {
        yield Buffer.from("a,b\n");
        for (;;) yield Buffer.from("1,2\n");
      } finally {
        closed += 1;
      }
    }
    const left = await openCsvFile(endless(), { encoding: "utf8", signal });
    for await (const batch of left.batches) {
      expect(batch.rows[0]).toEqual(["1", "2"]);
      break;
    }
    await left.close();
    expect(closed).toBe(1);

    const controller = new AbortController();
    const stopped = await openCsvFile(endless(), { encoding: "utf8", signal: controller.signal });
    await expect(async () => {
      for await (const _ of stopped.batches) controller.abort();
    }).rejects.toMatchObject({ name: "AbortError" });
    await stopped.close();
    expect(closed).toBe(2);
  });

  test("tells how far it is", async () => {
    const file = await openCsvFile(inPieces(Buffer.from("a,b\n1,2\n3\n"), 100), { encoding: "utf8", signal });
    await readAll(file);
    expect(file.position()).toEqual({ bytes: 10, rows: 1, refused: 1 });
  });
});

describe("a CSV file by Python", () => {
  const piece = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 8 }),
    fc.constantFrom('"', ",", ";", "\n", "\r\n", "\r", " ", "'", "中文", "\t", "=1+1"),
  );
  const text = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
  const table = fc
    .integer({ min: 1, max: 5 })
    .chain((width) =>
      fc.array(fc.array(text, { minLength: width, maxLength: width }), { minLength: 20, maxLength: 60 }),
    )
    // An empty line is no row.
    .map((rows) => rows.filter((row) => row.some((cell) => cell !== "")));

  test.each([
    ["utf-8", "excel", ",", "utf8"],
    ["utf-8-sig", "unix", ",", "utf8"],
    ["utf-8-sig", "excel", ";", "utf8"],
    ["gb18030", "excel", "\t", "gb18030"],
  ] as const)("in %s, as %s with %j, has the same rows", async (encoding, dialect, delimiter, ours) => {
    const property = fc.asyncProperty(table, fc.integer({ min: 1, max: 50 }), async (rows, pieceSize) => {
      // GB18030-2022 has other codes for these than Python.
      const known = rows.filter(
        (row) =>
          !/[\u1e3f\ue5e5\ue78d-\ue796\ue7c7\ue81e-\ue864\ufe10-\ufe19\u9fb4-\u9fbb]/.test(row.join("")) &&
          row.join("").isWellFormed(),
      );
      const titles = known[0]?.map((_, index) => `column ${index}`) ?? ["a"];
      const bytes = await pythonCsv([titles, ...known], { encoding, dialect, delimiter });
      const all = await read(bytes, { encoding: ours, delimiter }, pieceSize);
      expect(all).toMatchObject({ titles, rows: known, refused: [] });
    });
    await fc.assert(property, { numRuns: 25, endOnFailure: true });
  });

  test("in GBK has the same rows", async () => {
    const rows = [
      ["姓名", "城市"],
      ["李雷", "北京，中国"],
      ["韩梅梅", '"上海"\n€'],
    ];
    const all = await read(await pythonCsv(rows.slice(0, 2), { encoding: "gbk" }), { encoding: "gbk" }, 3);
    expect(all).toMatchObject({ titles: rows[0], rows: rows.slice(1, 2) });
  });
});

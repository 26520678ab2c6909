import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { FileLimits } from "../../../../lib/sources/file-rows.ts";
import { openJsonlFile } from "../../../../lib/sources/jsonl-file.ts";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import { inPieces, pythonBytes, readAll } from "../../../uploaded-files.ts";

const signal = new AbortController().signal;

async function read(content: string | Buffer, limits: Partial<FileLimits> = {}, pieceSize = 7) {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return readAll(await openJsonlFile(inPieces(bytes, pieceSize), { signal, limits }));
}

describe("a JSONL file", () => {
  test("has the columns of its first line, in their order", async () => {
    expect(await read('\n{"b": 1, "2021": "x", "a": null}\r\n\r\n{"a": true, "b": {"c": [1]}}\n{}')).toEqual({
      titles: ["b", "2021", "a"],
      rows: [
        [1, "x", null],
        [{ c: [1] }, undefined, true],
        [undefined, undefined, undefined],
      ],
      numbers: [2, 4, 5],
      refused: [],
    });
  });

  test("keeps the digits of its numbers", async () => {
    const { rows } = await read('{"a": 12345678901234567890, "b": 0.1234567890123456789}\n');
    expect(rows).toEqual([[exactNumber("12345678901234567890"), exactNumber("0.1234567890123456789")]]);
  });

  test("goes on after a line that is no row", async () => {
    const all = await read(
      '{"a": 1}\n{"a": 2, "c": 3}\n[1]\nnull\n12345678901234567890123\n{"a"\n{"a": 3}\n{"__proto__": 1}',
    );
    expect(all.rows).toEqual([[1], [3]]);
    expect(all.numbers).toEqual([1, 7]);
    expect(all.refused.map(({ number, reason }) => [number, reason.slice(0, 24)])).toEqual([
      [2, 'has the key "c", which t'],
      [3, "must be a JSON object"],
      [4, "must be a JSON object"],
      [5, "must be a JSON object"],
      [6, "is not JSON (Expected ':"],
      [8, 'has the key "__proto__",'],
    ]);
    expect(all.refused[0]!.cells).toEqual([2]);
    expect(all.refused[1]!.cells).toEqual(["[1]"]);
  });

  test.each([
    ["", /empty/],
    ["\n \n", /empty/],
    ["[1]\n", /line 1 must be a JSON object/],
    ["{}\n", /no header/],
    ['{"a": 1}\n\n{"a": "' + "x".repeat(2_000) + '"}', /line 3 is longer than 1000 bytes/],
    ['{"a": "' + "中".repeat(400) + '"}\n', /line 1 is longer than 1000 bytes/],
    ['{"a":1,"b":2,"c":3}', /3 columns; at most 2/],
    [Buffer.from('{"a": "\xe9"}', "latin1"), /not in UTF-8/],
  ])("is refused where it cannot be read: %#", async (content, reason) => {
    await expect(read(content, { maxRowBytes: 1_000, maxColumns: 2 })).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringMatching(reason),
    });
  });

  test("may be packed, up to a limit", async () => {
    const text = '{"a": 1}\n'.repeat(50_000);
    expect((await read(gzipSync(text))).rows).toHaveLength(50_000);
    await expect(read(gzipSync(text), { maxUnpackedBytes: 1_000 })).rejects.toMatchObject({
      type: "RESOURCE_EXHAUSTED",
    });
  });

  test("by Python has the same rows", async () => {
    const script = `
import json, sys
for row in json.load(sys.stdin): print(json.dumps(row, ensure_ascii=sys.argv[1] == "ascii"))
`;
    const cell = fc.oneof(fc.string({ unit: "grapheme" }), fc.integer(), fc.boolean(), fc.constant(null));
    const rows = fc.array(fc.record({ a: cell, "b c": cell, 列: cell }), { minLength: 1, maxLength: 50 });
    const property = fc.asyncProperty(rows, fc.constantFrom("ascii", "all"), async (rows, form) => {
      fc.pre(JSON.stringify(rows).isWellFormed());
      const all = await read(await pythonBytes(script, rows, form));
      expect(all).toMatchObject({ rows: rows.map((row) => [row.a, row["b c"], row.列]), refused: [] });
    });
    await fc.assert(property, { numRuns: 30 });
  });
});

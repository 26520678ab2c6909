import { describe, expect, test } from "@jest/globals";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReportedRow } from "../../../../lib/tabular/error-report.ts";
import { writeErrorReport } from "../../../../lib/tabular/error-report.ts";
import { collect, readCsv } from "../../../table-files.ts";
import { withTempDir } from "../../../temp-dir.ts";
import { waitFor } from "../../../wait-for.ts";

/** The report as Python reads it. */
function report(rows: Iterable<ReportedRow> | AsyncIterable<ReportedRow>, titles: string[], maxRows?: number) {
  return withTempDir(async (directory) => {
    const path = join(directory, "report.csv");
    await writeFile(path, await collect(writeErrorReport(rows, { titles, maxRows })));
    return readCsv(path, "utf-8-sig");
  });
}

describe("a report of refused rows", () => {
  test("has their numbers, columns, reasons and cells", async () => {
    const rows = [
      { number: 2, column: "age", reason: 'must be a number, and is "x"', cells: ["Li, 雷", "x", null] },
      { number: 5, reason: "has 1 fields", cells: ["a\nb"] },
      { number: 6, reason: "has 4 fields", cells: [1, true, new Date("2026-11-26T00:00:00Z"), "beyond"] },
    ];
    expect(await report(rows, ["name", "age", "at"])).toEqual([
      ["row", "column", "reason", "name", "age", "at"],
      ["2", "age", 'must be a number, and is "x"', "Li, 雷", "x", ""],
      ["5", "", "has 1 fields", "a\nb"],
      ["6", "", "has 4 fields", "1", "true", "2026-11-26T00:00:00.000Z"],
    ]);
  });

  test("counts those beyond its bound", async () => {
    async function* many() {
      for (let number = 1; number <= 25_000; number++) yield { number, reason: "x", cells: ["y"] };
    }
    const lines = await report(many(), ["a"]);
    expect(lines).toHaveLength(10_002);
    expect(lines.at(-2)).toEqual(["10000", "", "x", "y"]);
    expect(lines.at(-1)).toEqual(["", "", "and 15000 more"]);
    expect(await report([], ["a"], 5)).toEqual([["row", "column", "reason", "a"]]);
    const three = [1, 2, 3].map((number) => ({ number, reason: "x", cells: [] }));
    expect((await report(three, ["a"], 3)).at(-1)).toEqual(["3", "", "x"]);
  });

  test("runs no formula and holds no long text", async () => {
    const row = { number: 1, reason: "=1+1", cells: ["=cmd()", "-1.5", "x".repeat(5_000)] };
    const [, line] = await report([row], ["a", "b", "c"]);
    expect(line).toEqual(["1", "", "'=1+1", "'=cmd()", "-1.5", `${"x".repeat(1_000)}…`]);
  });

  test("fails as its rows do, and can be left", async () => {
    let closed = false;
    async function* endless() {
      try {
        for (;;) yield { number: 1, reason: "x", cells: ["y".repeat(900)] };
      } finally {
        closed = true;
      }
    }
    for await (const _ of writeErrorReport(endless(), { titles: ["a"] })) break;
    await waitFor(() => closed);
    async function* failing(): AsyncGenerator<ReportedRow> {
      yield { number: 1, reason: "x", cells: [] };
      throw new Error("lost");
    }
    await expect(collect(writeErrorReport(failing(), { titles: [] }))).rejects.toThrow("lost");
  });
});

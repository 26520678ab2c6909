import { createHash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { readGenerateSpec } from "../../../../lib/sources/generate-spec.ts";
import { openGenerator } from "../../../../lib/sources/generate.ts";
import { LOCALES, REALISTIC_KINDS } from "../../../../lib/sources/realistic.ts";
import type { Row } from "../../../../lib/tabular/table.ts";

const signal = new AbortController().signal;

async function rowsOf(spec: object, from = 0): Promise<Row[]> {
  const source = await openGenerator(readGenerateSpec(spec, "spec"), { signal, from });
  const rows: Row[] = [];
  for await (const batch of source.batches) rows.push(...batch);
  await source.close();
  return rows;
}

/** The only column of so many rows. */
async function cells(column: object, rows = 20_000, seed = 1): Promise<unknown[]> {
  return (await rowsOf({ rows, seed, columns: [{ name: "a", ...column }] })).map(([cell]) => cell);
}

/** How many of the cells are each value. */
function counts(values: readonly unknown[]): Map<unknown, number> {
  const counted = new Map<unknown, number>();
  for (const value of values) counted.set(value, (counted.get(value) ?? 0) + 1);
  return counted;
}

const plain = [
  { name: "id", kind: "sequence", start: 100, step: -3 },
  { name: "integer", kind: "integer", min: -5, max: 2 ** 40 },
  { name: "unique", kind: "integer", min: 1, max: 5_000, unique: true },
  { name: "decimal", kind: "decimal", min: -10, max: 10.125, scale: 3 },
  { name: "flag", kind: "boolean", probability: 0.3 },
  { name: "uuid", kind: "uuid" },
  { name: "choice", kind: "enum", values: ["a", 2, null, true], weights: [1, 0.5, 0, 3] },
  { name: "pattern", kind: "pattern", pattern: "[A-Z]{2}-\\d{4,6}é" },
  { name: "day", kind: "date" },
  { name: "time", kind: "datetime", null_ratio: 0.1 },
  { name: "constant", kind: "constant", value: "x" },
];
const real = REALISTIC_KINDS.map((kind) => ({ name: kind, kind }));

describe("rows that are generated", () => {
  const hash = (rows: Row[]) => createHash("sha256").update(JSON.stringify(rows)).digest("hex");

  test("are the same for the same seed, on every machine", async () => {
    expect(hash(await rowsOf({ rows: 1_000, seed: 7, columns: plain }))).toBe(
      "444a22cfb8f38c15b82c0afa78c21fb8365171c7d65f0fdddb5c0d3484f8797f",
    );
    expect(hash(await rowsOf({ rows: 1_000, seed: 7, columns: real }))).toBe(
      "60e119f515bb3d480b6249f376b22fe8252e303360c3963cd440a52884105600",
    );
    const chinese = real.map((column) => ({ ...column, locale: "zh_CN" }));
    expect(hash(await rowsOf({ rows: 1_000, seed: 7, columns: chinese }))).toBe(
      "846b9f2b48afe5eb552d8c90a04b4203a50dda7cc9c31a6c8aadca970d08e42a",
    );
  });

  test("are others for another seed, and in another column", async () => {
    const two = [0, 2 ** 32].map((seed) => rowsOf({ rows: 100, seed, columns: plain.slice(1, 4) }));
    const [first, second] = await Promise.all(two);
    for (const [index, row] of first!.entries()) expect(row).not.toEqual(second![index]);
    const columns = [0, 1].map((name) => ({ name: `${name}`, kind: "integer", max: 1 }));
    const rows = await rowsOf({ rows: 20_000, columns });
    const same = rows.filter(([left, right]) => left === right).length;
    expect(same).toBeGreaterThan(9_600);
    expect(same).toBeLessThan(10_400);
  });

  test("may begin anywhere", async () => {
    const spec = { rows: 3_500, seed: 3, columns: [...plain, ...real.slice(0, 5)] };
    expect(await rowsOf(spec, 2_345)).toEqual((await rowsOf(spec)).slice(2_345));
    const far = { rows: 100_000_000, columns: plain.slice(0, 2) };
    expect(await rowsOf(far, 99_999_999)).toEqual([[100 - 3 * 99_999_999, expect.any(Number)]]);
  });

  test("say what their texts are", async () => {
    const { columns, position, close } = await openGenerator(readGenerateSpec({ rows: 5, columns: plain }, ""), {
      signal,
    });
    expect(columns.map(({ type }) => type).filter(Boolean)).toEqual(["number", "date", "datetime"]);
    expect(position()).toEqual({ pages: 0, totalPages: 1, totalRows: 5 });
    await close();
  });

  test("can be stopped", async () => {
    const controller = new AbortController();
    const spec = readGenerateSpec({ rows: 100_000_000, columns: plain.slice(0, 2) }, "");
    const source = await openGenerator(spec, { signal: controller.signal });
    let batches = 0;
    await expect(async () => {
      for await (const _ of source.batches) if (++batches === 3) controller.abort();
    }).rejects.toMatchObject({ name: "AbortError" });
    expect(batches).toBe(3);
  });
});

describe("a column of", () => {
  test("whole numbers has each as often", async () => {
    const counted = counts(await cells({ kind: "integer", min: -2, max: 7 }));
    expect([...counted.keys()].sort((left, right) => Number(left) - Number(right))).toEqual([
      -2, -1, 0, 1, 2, 3, 4, 5, 6, 7,
    ]);
    // Four standard deviations.
    for (const count of counted.values()) expect(Math.abs(count - 2_000)).toBeLessThan(170);
  });

  test("unique numbers has each once, in another order", async () => {
    for (const size of [1, 2, 3, 1_000, 4_097]) {
      const values = (await cells({ kind: "integer", min: 10, max: 9 + size, unique: true }, size)) as number[];
      expect(new Set(values).size).toBe(size);
      expect([Math.min(...values), Math.max(...values)]).toEqual([10, 9 + size]);
      if (size < 1_000) continue;
      const ascending = values.filter((value, index) => index > 0 && value > values[index - 1]!).length;
      expect(Math.abs(ascending / size - 0.5)).toBeLessThan(0.05);
      expect(values).not.toEqual(await cells({ kind: "integer", min: 10, max: 9 + size, unique: true }, size, 2));
    }
  });

  test("booleans, weighted values and nulls has them as often as it should", async () => {
    const flags = counts(await cells({ kind: "boolean", probability: 0.2 }));
    expect(Math.abs(flags.get(true)! - 4_000)).toBeLessThan(230);
    const choices = counts(await cells({ kind: "enum", values: ["a", "b", 3], weights: [6, 0, 2] }));
    expect(choices.has("b")).toBe(false);
    expect(Math.abs(choices.get(3)! - 5_000)).toBeLessThan(250);
    const nulls = counts(await cells({ kind: "uuid", null_ratio: 0.5 }));
    expect(Math.abs(nulls.get(null)! - 10_000)).toBeLessThan(290);
    expect(nulls.size).toBe(20_000 - nulls.get(null)! + 1);
    // Whether there is a value says nothing of which.
    const values = await cells({ kind: "integer", max: 99, null_ratio: 0.5 });
    const numbers = values.filter((value) => value !== null) as number[];
    expect(Math.abs(numbers.reduce((sum, value) => sum + value, 0) / numbers.length - 49.5)).toBeLessThan(1.2);
  });

  test("uuids, dates and times has their forms", async () => {
    for (const text of await cells({ kind: "uuid" }, 1_000)) {
      expect(text).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
    const days = counts(await cells({ kind: "date", min: "2024-02-28", max: "2024-03-01" }));
    expect([...days.keys()].sort()).toEqual(["2024-02-28", "2024-02-29", "2024-03-01"]);
    const ends = { min: "2026-12-31T23:59:59Z", max: "2027-01-01T00:00:00Z" };
    const times = counts(await cells({ kind: "datetime", ...ends }));
    expect([...times.keys()].sort()).toEqual(["2026-12-31 23:59:59", "2027-01-01 00:00:00"]);
  });

  test("decimals has no digit too many", async () => {
    const property = fc.asyncProperty(
      fc.integer({ min: 0, max: 9 }).chain((scale) => {
        const end = fc.integer({ min: -1e6, max: 1e6 }).map((units) => Number((units / 10 ** scale).toFixed(scale)));
        return fc.record({ scale: fc.constant(scale), min: end, max: end, seed: fc.nat() });
      }),
      async ({ scale, seed, ...ends }) => {
        const [min, max] = [Math.min(ends.min, ends.max), Math.max(ends.min, ends.max)];
        for (const text of (await cells({ kind: "decimal", min, max, scale }, 50, seed)) as string[]) {
          expect(text).toMatch(new RegExp(scale === 0 ? "^-?\\d+$" : `^-?\\d+\\.\\d{${scale}}$`));
          expect(Number(text)).toBeGreaterThanOrEqual(min);
          expect(Number(text)).toBeLessThanOrEqual(max);
        }
      },
    );
    await fc.assert(property);
    const tenths = counts(await cells({ kind: "decimal", min: -0.1, max: 0.1, scale: 1 }, 100));
    expect([...tenths.keys()].sort()).toEqual(["-0.1", "0.0", "0.1"]);
  });

  test.each([
    "abc",
    "[A-C]",
    "[A-Z0-9]{8}",
    "\\d{3}-\\d{2,4}",
    "\\w\\.\\[\\\\",
    "[a\\-z]x{0,3}",
    "[\\d_-]{5}",
    "[中文]{2}",
    "",
  ])("texts of the pattern %j matches it", async (pattern) => {
    const expected = new RegExp(`^${pattern}$`, "su");
    for (const text of await cells({ kind: "pattern", pattern }, 500)) expect(text).toMatch(expected);
  });

  test("whole numbers is within its ends, whatever they are", async () => {
    const property = fc.asyncProperty(
      fc.maxSafeInteger(),
      fc.maxSafeInteger(),
      fc.boolean(),
      async (one, other, unique) => {
        const [min, max] = [Math.min(one, other), Math.max(one, other)];
        fc.pre(max - min < (unique ? 2 ** 52 : 2 ** 53) && max - min > 100);
        for (const value of await cells({ kind: "integer", min, max, unique }, 50)) {
          expect(Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max).toBe(true);
        }
      },
    );
    await fc.assert(property);
  });

  test.each(LOCALES)("texts that look real has them in %s", async (locale) => {
    const rows = await rowsOf({ rows: 200, columns: real.map((column) => ({ ...column, locale })) });
    for (const row of rows) for (const cell of row) expect(cell).toEqual(expect.stringMatching(/\S/));
    const emails = new Set(rows.map((row) => row[REALISTIC_KINDS.indexOf("email")]));
    expect(emails.size).toBeGreaterThan(190);
  });
});

describe("a specification", () => {
  const column = (column: object) => ({
    rows: 10,
    columns: [
      { name: "a", kind: "uuid" },
      { name: "b", ...column },
    ],
  });

  test.each([
    [1, "spec", /must be an object/],
    [{ columns: [{ name: "a", kind: "uuid" }] }, "spec.rows", /whole number/],
    [{ rows: 100_000_001, columns: [] }, "spec.rows", /at most 100000000/],
    [{ rows: 1, seed: -1, columns: [{ name: "a", kind: "uuid" }] }, "spec.seed", /0 or more/],
    [{ rows: 1, columns: [] }, "spec.columns", /not be empty/],
    [{ rows: 1, columns: [7] }, "spec.columns[0]", /must be an object/],
    [{ rows: 1, columns: [{ kind: "uuid" }] }, "spec.columns[0].name", /string/],
    [{ rows: 1, sed: 1, columns: [{ name: "a", kind: "uuid" }] }, "spec.sed", /not known/],
    [column({ kind: "nothing" }), "spec.columns[1].kind", /must be one of sequence/],
    [column({ kind: "uuid", name: "a" }), "spec.columns[1].name", /twice/],
    [column({ kind: "uuid", null_ratio: 2 }), "spec.columns[1].null_ratio", /0 to 1/],
    [column({ kind: "uuid", max: 2 }), "spec.columns[1].max", /not known/],
    [column({ kind: "integer", max: "2" }), "spec.columns[1].max", /whole number/],
    [column({ kind: "integer", min: 3, max: 2 }), "spec.columns[1].max", /less than min/],
    [column({ kind: "integer", min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }), "spec.columns[1].max", /too far/],
    [column({ kind: "integer", max: 8, unique: true }), "spec.columns[1].unique", /needs 10 numbers, and there are 9/],
    [column({ kind: "integer", max: 2 ** 53 - 1, unique: true }), "spec.columns[1].unique", /at most 4503/],
    [column({ kind: "decimal", max: 1.005 }), "spec.columns[1].max", /more than 2 digits/],
    [column({ kind: "decimal", max: 1e14 }), "spec.columns[1].max", /too many digits/],
    [column({ kind: "decimal", scale: 10 }), "spec.columns[1].scale", /0 to 9/],
    [column({ kind: "sequence", step: 0 }), "spec.columns[1].step", /must not be 0/],
    [column({ kind: "sequence", step: 2 ** 52 }), "spec.columns[1].step", /exact/],
    [column({ kind: "boolean", probability: 1.5 }), "spec.columns[1].probability", /0 to 1/],
    [column({ kind: "enum", values: [] }), "spec.columns[1].values", /not be empty/],
    [column({ kind: "enum", values: [{}] }), "spec.columns[1].values[0]", /string, a number/],
    [column({ kind: "enum", values: [1], weights: [1, 2] }), "spec.columns[1].weights", /as many as values/],
    [column({ kind: "enum", values: [1], weights: [0] }), "spec.columns[1].weights", /all be 0/],
    [column({ kind: "enum", values: [1], weights: [-1] }), "spec.columns[1].weights[0]", /0 or more/],
    [column({ kind: "pattern", pattern: "(a|b)" }), "spec.columns[1].pattern", /character 1/],
    [column({ kind: "pattern", pattern: "ab+" }), "spec.columns[1].pattern", /character 3/],
    [column({ kind: "pattern", pattern: "a{101}" }), "spec.columns[1].pattern", /more than 100 times/],
    [column({ kind: "pattern", pattern: "a{3,2}" }), "spec.columns[1].pattern", /end is before/],
    [column({ kind: "pattern", pattern: "[z-a]" }), "spec.columns[1].pattern", /end is before/],
    [column({ kind: "pattern", pattern: "[^a]" }), "spec.columns[1].pattern", /begins with/],
    [column({ kind: "pattern", pattern: "[a-\u{10ffff}]" }), "spec.columns[1].pattern", /more than 1000/],
    [column({ kind: "pattern", pattern: "a{99}".repeat(20) }), "spec.columns[1].pattern", /texts of more than 1000/],
    [column({ kind: "date", min: "2026-02-30" }), "spec.columns[1].min", /date such as/],
    [column({ kind: "datetime", max: "2026-02-28" }), "spec.columns[1].max", /time such as/],
    [column({ kind: "date", max: "1999-01-01" }), "spec.columns[1].max", /less than min/],
    [column({ kind: "constant" }), "spec.columns[1].value", /string, a number/],
    [column({ kind: "city", locale: "xx" }), "spec.columns[1].locale", /must be one of en/],
  ])("is refused by the field that is wrong: %j", (spec, field, reason) => {
    let error: unknown;
    try {
      readGenerateSpec(spec, "spec");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ type: "INVALID_ARGUMENT", data: { field }, message: expect.stringMatching(reason) });
  });

  test("has names of fields without a prefix too", () => {
    expect(() => readGenerateSpec(column({ kind: "integer", max: "x" }), "")).toThrow(/^columns\[1\]\.max: /);
    expect(() => readGenerateSpec(1, "")).toThrow(/^spec: /);
  });
});

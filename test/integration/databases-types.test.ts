import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Document } from "mongodb";
import { BSON, Binary, Decimal128, Long, ObjectId, UUID } from "mongodb";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { exactNumber } from "../../lib/tabular/table.ts";
import { readAll, Scratch, withDatabase, withMongo } from "../databases.ts";
import { describeWith } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";

/** A column's values by the expressions that make them: the cell that is expected, where it is not the text of the client. */
type Values = readonly (readonly [expression: string, cell?: unknown])[];

describeWith("postgres", "types of PostgreSQL", () => {
  const scratch = new Scratch("postgres");

  const cases: readonly (readonly [type: string, column: string | undefined, values: Values])[] = [
    ["int2", "number", [["-32768", -32768]]],
    [
      "int4",
      "number",
      [
        ["-2147483648", -2147483648],
        ["2147483647", 2147483647],
      ],
    ],
    ["int8", "number", [["9223372036854775807"], ["-9223372036854775808"], ["9007199254740993"]]],
    ["numeric", "number", [["12345678901234567890.12345678901234567890"], ["0.10"], ["'NaN'"], ["-1e-30"]]],
    ["numeric(10,2)", "number", [["1.5"]]],
    [
      "float8",
      "number",
      [["0.1", 0.1], ["1.7976931348623157e308", Number.MAX_VALUE], ["5e-324", 5e-324], ["'NaN'"], ["'-Infinity'"]],
    ],
    [
      "float4",
      "number",
      [
        ["0.1", 0.1],
        ["16777216", 16777216],
      ],
    ],
    [
      "bool",
      undefined,
      [
        ["true", true],
        ["false", false],
      ],
    ],
    ["text", undefined, [["''"], ["'a b, \"c\"'"], ["'\u{1f600}\u7528'"], [String.raw`'\x00'`]]],
    ["char(5)", undefined, [["'ab'"]]],
    ["bytea", undefined, [[String.raw`'\x00ff'`], ["''"]]],
    ["date", "date", [["'2026-11-26'"], ["'infinity'"], ["'0044-03-15 BC'"]]],
    ["timestamp", "datetime", [["'2026-11-26 23:59:59.123456'"], ["'1883-11-18 12:00:00'"]]],
    ["timestamptz", "datetime", [["'2026-11-26 23:30:00.5-05'"], ["'2026-07-01 00:00:00+00'"]]],
    ["time", undefined, [["'24:00:00'"]]],
    ["interval", undefined, [["'1 year 2 days 03:04:05.6'"]]],
    ["json", undefined, [[`'{"b": 1.10,  "a":[1e3]}'`]]],
    ["jsonb", undefined, [[`'{"b": 1.10,  "a":[12345678901234567890]}'`]]],
    ["uuid", undefined, [["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]]],
    ["inet", undefined, [["'10.0.0.1/8'"]]],
    ["int[]", undefined, [["'{1,NULL,3}'"]]],
    ["text[]", undefined, [[`'{"a b","c,d"}'`]]],
    ["bit(4)", undefined, [["'0101'"]]],
    ["int4range", undefined, [["'[1,5)'"]]],
  ];

  test.each(cases)("%s is read as the client has it", async (type, columnType, values) => {
    const selects = values.map(([expression], place) => `SELECT ${place} AS n, CAST(${expression} AS ${type}) AS v`);
    const statement = `SELECT v FROM (${selects.join(" UNION ALL ")}) x ORDER BY n`;
    const texts = (await scratch.sql(statement)).split("\n");
    const { columns, rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { statement }));
    expect(columns[0]).toEqual({ key: "v", title: "v", ...(columnType === undefined ? {} : { type: columnType }) });
    expect(rows).toEqual(values.map(([, cell], place) => [cell ?? texts[place]]));
  });

  test("NULL is null, and an enum and a domain are their texts", async () => {
    await scratch.sql("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN cents AS numeric(10,2)");
    const statement = "SELECT NULL::int AS a, 'ok'::mood AS b, 1.5::cents AS c";
    const { columns, rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { statement }));
    expect(rows).toEqual([[null, "ok", "1.50"]]);
    expect(columns.map(({ type }) => type)).toEqual(["number", undefined, "number"]);
  });

  test("columns of one name have keys of their own", async () => {
    const statement = "SELECT 1 AS a, 2 AS a, 3 AS a_2";
    const { columns, rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { statement }));
    expect(columns.map(({ key, title }) => [key, title])).toEqual([
      ["a", "a"],
      ["a_2", "a"],
      ["a_2_2", "a_2"],
    ]);
    expect(rows).toEqual([[1, 2, 3]]);
  });

  test("any double comes as it is", async () => {
    await withDatabase(scratch.dsn, (database) =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }),
          async (numbers) => {
            const values = numbers.map(
              (number, place) => `(${place}, '${Object.is(number, -0) ? "-0" : number}'::float8)`,
            );
            const statement = `SELECT v FROM (VALUES ${values.join(", ")}) x (n, v) ORDER BY n`;
            expect((await readAll(database, { statement })).rows).toEqual(numbers.map((number) => [number]));
          },
        ),
        { numRuns: 30 },
      ),
    );
  });
});

describeWith("mariadb", "types of MariaDB", () => {
  const scratch = new Scratch("mariadb");

  const cases: readonly (readonly [type: string, column: string | undefined, values: Values])[] = [
    [
      "tinyint(1)",
      "number",
      [
        ["1", 1],
        ["0", 0],
        ["-128", -128],
      ],
    ],
    ["int unsigned", "number", [["4294967295", 4294967295]]],
    ["bigint", "number", [["-9223372036854775808"], ["9007199254740993"]]],
    ["bigint unsigned", "number", [["18446744073709551615"]]],
    ["decimal(65,30)", "number", [["12345678901234567890.12345678901234567890"], ["-0.1"]]],
    [
      "double",
      "number",
      [
        ["0.1", 0.1],
        ["9.876543210987654", 9.876543210987654],
        ["1.7976931348623157e308", Number.MAX_VALUE],
      ],
    ],
    ["float", "number", [["0.1", 0.1]]],
    ["year", "number", [["2026", 2026]]],
    [
      "bit(64)",
      "number",
      [
        ["b'1'", "1"],
        ["0xffffffffffffffff", "18446744073709551615"],
      ],
    ],
    ["date", "date", [["'2026-11-26'"], ["'0000-00-00'"]]],
    ["datetime(6)", "datetime", [["'2026-11-26 23:59:59.123456'"], ["'0000-00-00 00:00:00'"]]],
    ["datetime", "datetime", [["'2026-03-29 02:30:00'"]]],
    ["timestamp", "datetime", [["'2026-11-26 10:00:00'"]]],
    ["time(3)", undefined, [["'-838:59:59.000'"]]],
    ["varchar(20)", undefined, [["''"], ["'\u{1f600}\u7528'"]]],
    ["text character set latin1", undefined, [["'\u00e9'"]]],
    ["enum('a','b')", undefined, [["'b'"]]],
    ["set('a','b')", undefined, [["'a,b'"]]],
    ["json", undefined, [[`'{"b": 1.10,  "a":[1e3]}'`]]],
    ["uuid", undefined, [["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]]],
    ["inet6", undefined, [["'::1'"]]],
    [
      "blob",
      undefined,
      [
        ["x'00ff'", String.raw`\x00ff`],
        ["''", String.raw`\x`],
      ],
    ],
    ["binary(3)", undefined, [["x'01'", String.raw`\x010000`]]],
    ["point", undefined, [["point(1, 2)", String.raw`\x000000000101000000000000000000f03f0000000000000040`]]],
  ];

  test.each(cases)("%s is read as the client has it", async (type, columnType, values) => {
    await scratch.sql(`CREATE OR REPLACE TABLE types (n int, v ${type})`);
    const rowsOf = values.map(([expression], place) => `(${place}, ${expression})`).join(", ");
    await scratch.sql(`SET time_zone = '+00:00', sql_mode = ''; INSERT INTO types VALUES ${rowsOf}`);
    const statement = "SELECT v FROM types ORDER BY n";
    const texts = (await scratch.sql(`SET time_zone = '+00:00'; ${statement}`)).split("\n");
    const { columns, rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { statement }));
    expect(columns[0]).toEqual({ key: "v", title: "v", ...(columnType === undefined ? {} : { type: columnType }) });
    expect(rows).toEqual(values.map(([, cell], place) => [cell ?? texts[place]]));
  });

  test("NULL is null, whatever the type", async () => {
    const statement = "SELECT NULL AS a, CAST(NULL AS DOUBLE) AS b, CAST(NULL AS BINARY) AS c";
    const { rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { statement }));
    expect(rows).toEqual([[null, null, null]]);
  });

  test("a table is read by its columns and a filter", async () => {
    await scratch.sql("CREATE TABLE `odd ``name` (`a b` int, c int); INSERT INTO `odd ``name` VALUES (1, 2), (3, 4)");
    await withDatabase(scratch.dsn, async (database) => {
      const table = "odd `name";
      expect((await readAll(database, { table })).rows).toEqual([
        [1, 2],
        [3, 4],
      ]);
      expect((await readAll(database, { table, columns: ["c"], filter: "`a b` > 1 -- the rest" })).rows).toEqual([[4]]);
      await expect(database.rows({ table, columns: ["d"] })).rejects.toMatchObject({ data: { field: "columns" } });
      await expect(database.rows({ table: "none" })).rejects.toMatchObject({ type: "NOT_FOUND" });
    });
  });
});

describeWith([], "types of SQLite", () => {
  test("each value has its own", async () => {
    await withTempDir(async (directory) => {
      const path = join(directory, "types.db");
      const made = new DatabaseSync(path);
      made.exec("CREATE TABLE t (n INTEGER, d DATE, at DATETIME, x)");
      made.exec(
        `INSERT INTO t VALUES (9007199254740993, '2026-11-26', '2026-11-26 10:00:00', x'00ff'), (1, NULL, 5, 0.1), (-1, '', '', 'a')`,
      );
      made.close();
      const { columns, rows } = await withDatabase(`sqlite:${path}`, (database) => readAll(database, { table: "t" }));
      expect(columns.map(({ type }) => type)).toEqual([undefined, "date", "datetime", undefined]);
      expect(rows).toEqual([
        [9007199254740993n, "2026-11-26", "2026-11-26 10:00:00", String.raw`\x00ff`],
        [1, null, 5, 0.1],
        [-1, "", "", "a"],
      ]);
    });
  });
});

describeWith("mongodb", "types of MongoDB", () => {
  const scratch = new Scratch("mongodb");

  test("columns are the keys of all documents, and numbers keep their digits", async () => {
    const id = new ObjectId();
    const uuid = new UUID();
    await withMongo(scratch.dsn, async (client) => {
      await client
        .db(scratch.name)
        .collection<Document & { _id: unknown }>("types")
        .insertMany([
          {
            _id: id,
            int: 1,
            double: 0.1,
            long: Long.fromString("9007199254740993"),
            decimal: Decimal128.fromString("1.10"),
          },
          {
            _id: "a",
            text: "b",
            bytes: new Binary(Buffer.from("00ff", "hex")),
            uuid,
            none: null,
            at: new Date("2026-11-26T10:00:00.5Z"),
          },
          {
            _id: 3,
            nested: { long: Long.fromString("9007199254740993"), list: [Decimal128.fromString("2.50"), new Date(5)] },
          },
        ]);
    });
    const { columns, rows } = await withDatabase(scratch.dsn, (database) => readAll(database, { table: "types" }));
    const documents = rows.map((row) => Object.fromEntries(columns.map(({ key }, place) => [key, row[place]])));
    expect(documents[0]).toEqual({
      ...documents[0],
      ...{
        _id: id.toHexString(),
        int: 1,
        double: 0.1,
        long: 9007199254740993n,
        decimal: exactNumber("1.10"),
        text: undefined,
      },
    });
    expect(documents[1]).toMatchObject({
      _id: "a",
      text: "b",
      bytes: String.raw`\x00ff`,
      uuid: uuid.toString(),
      none: null,
    });
    expect(documents[1]!.at).toEqual(new Date("2026-11-26T10:00:00.5Z"));
    expect(documents[2]!.nested).toBe(
      '{"long":9007199254740993,"list":[{"$numberDecimal":"2.50"},{"$date":"1970-01-01T00:00:00.005Z"}]}',
    );
  });

  test("a filter, a choice of columns and an aggregation are EJSON", async () => {
    await withMongo(scratch.dsn, (client) =>
      client
        .db(scratch.name)
        .collection("orders")
        .insertMany([1, 2, 3, 4].map((n) => ({ n, even: n % 2 === 0 }))),
    );
    await withDatabase(scratch.dsn, async (database) => {
      const filter = BSON.EJSON.stringify({ n: { $gt: Long.fromNumber(2) } });
      expect((await readAll(database, { table: "orders", columns: ["n"], filter })).rows).toEqual([[3], [4]]);
      expect(await database.estimate({ table: "orders", filter })).toBe(2);
      const pipeline = [{ $group: { _id: "$even", sum: { $sum: "$n" } } }, { $sort: { sum: 1 } }];
      const { columns, rows } = await readAll(database, {
        statement: JSON.stringify({ aggregate: "orders", pipeline }),
      });
      expect(columns.map(({ key }) => key)).toEqual(["_id", "sum"]);
      expect(rows).toEqual([
        [false, 4],
        [true, 6],
      ]);
    });
  });

  test("a key that comes while documents are read is not left out unsaid", async () => {
    await withDatabase(scratch.dsn, async (database) => {
      await withMongo(scratch.dsn, async (client) => {
        const collection = client.db(scratch.name).collection("changing");
        await collection.insertMany(Array.from({ length: 3_000 }, (_, n) => ({ n })));
        const source = await database.rows({ table: "changing" });
        await collection.updateMany({ n: { $gte: 2_500 } }, { $set: { late: true } });
        const read = async () => {
          for await (const _batch of source.batches);
        };
        await expect(read()).rejects.toMatchObject({ type: "ABORTED", message: expect.stringContaining('"late"') });
      });
    });
  });
});

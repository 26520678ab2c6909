/** Imports into real databases, and rows that are made up. */
import { readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import { readGenerateSpec } from "../../lib/sources/generate-spec.ts";
import type { DataImport, FileFormat } from "../../services/progress/work.ts";
import type { SqlServerName } from "../databases.ts";
import { Scratch, withMongo } from "../databases.ts";
import type { Workshop } from "../data-works.ts";
import { accessTo, CSV, exportOf, importOf, withWorkshop, XLSX } from "../data-works.ts";
import { describeWith } from "../servers.ts";
import { readCsv } from "../table-files.ts";

const CREATE: Record<SqlServerName, string> = {
  mariadb:
    "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL, amount DECIMAL(20, 4)," +
    " born DATE, seen DATETIME(3), active BOOLEAN, share DOUBLE)",
  postgres:
    "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, amount numeric(20, 4), born date, seen timestamp(3)," +
    " active boolean, share double precision)",
};

const ROWS = 2_500;

/** Rows with quotes, line ends, other scripts and NULLs, made by the server itself. */
const FILL: Record<SqlServerName, string> = {
  mariadb:
    `INSERT INTO people SELECT seq, CONCAT(seq, ' 李,"雷"', IF(seq % 7 = 0, '\\n😀', '')), IF(seq % 5 = 0, NULL, seq * 12345.6789),` +
    ` DATE_ADD('1999-12-31', INTERVAL seq DAY), TIMESTAMPADD(MICROSECOND, seq * 1000, '2026-11-27 10:00:00'),` +
    ` IF(seq % 3 = 0, NULL, seq % 2), seq / 8 FROM seq_1_to_${ROWS}`,
  postgres:
    `INSERT INTO people SELECT n, n || ' 李,"雷"' || CASE WHEN n % 7 = 0 THEN E'\\n😀' ELSE '' END,` +
    ` CASE WHEN n % 5 = 0 THEN NULL ELSE n * 12345.6789 END, date '1999-12-31' + n,` +
    ` timestamp '2026-11-27 10:00:00' + n * interval '1 millisecond',` +
    ` CASE WHEN n % 3 = 0 THEN NULL ELSE n % 2 = 1 END, n / 8.0 FROM generate_series(1, ${ROWS}) AS n`,
};

/** Every cell of every row, as a digest that both servers reckon in the same way. */
const DIGEST: Record<SqlServerName, string> = {
  mariadb:
    "SET SESSION group_concat_max_len = 100000000; SELECT COUNT(*), MD5(GROUP_CONCAT(CONCAT_WS('|', id, name, IFNULL(amount, '-')," +
    " born, DATE_FORMAT(seen, '%Y-%m-%d %H:%i:%s.%f'), IFNULL(active, '-'), CAST(share * 1000 AS INT)) ORDER BY id SEPARATOR ';')) FROM people",
  postgres:
    "SELECT count(*), md5(string_agg(concat_ws('|', id, name, coalesce(amount::text, '-'), born," +
    " to_char(seen, 'YYYY-MM-DD HH24:MI:SS.US'), coalesce(active::int::text, '-'), (share * 1000)::int), ';' ORDER BY id)) FROM people",
};

describeWith(["mariadb", "postgres"], "an import", () => {
  const scratches = { mariadb: new Scratch("mariadb"), postgres: new Scratch("postgres") };
  const digest = (server: SqlServerName) => scratches[server].sql(DIGEST[server]);

  beforeEach(async () => {
    for (const server of ["mariadb", "postgres"] as const)
      await scratches[server].sql(`DROP TABLE IF EXISTS people; ${CREATE[server]}`);
  });

  /** Exports the table of one, and imports the file into the other's. */
  async function carry(workshop: Workshop, from: SqlServerName, to: SqlServerName, format: FileFormat) {
    const tables = [{ table: "people" }];
    const exported = await workshop.run(exportOf(scratches[from].dsn, { tables, content: "DATA" }, format));
    await workshop.upload(await readFile(workshop.pathOf(exported)));
    const work = importOf(scratches[to].dsn, "people", { fileType: format.extType === "XLSX" ? "XLSX" : "CSV" });
    await workshop.check(work);
    return workshop.run(work);
  }

  test.each([
    { from: "postgres", to: "mariadb", format: CSV },
    { from: "mariadb", to: "postgres", format: CSV },
    { from: "postgres", to: "mariadb", format: XLSX },
    { from: "mariadb", to: "postgres", format: XLSX },
  ] as const)("of what was exported is the same table: $format.extType from $from to $to", ({ from, to, format }) =>
    withWorkshop(async (workshop) => {
      await scratches[from].sql(FILL[from]);
      const result = await carry(workshop, from, to, format);
      expect(result).toMatchObject({ rows: ROWS, refused: 0, skipped: 0 });
      expect(result.report).toBeUndefined();
      expect(await digest(to)).toBe(await digest(from));
    }),
  );

  const COLUMNS = "id, name, amount, born, seen, active, share";
  /** How the database's own client reads a CSV; only PostgreSQL's can tell NULL from an empty text in it. */
  const LOAD: Record<SqlServerName, (path: string) => string> = {
    postgres: (path) => `\\copy people (${COLUMNS}) FROM '${path}' WITH (FORMAT csv, HEADER)`,
    mariadb: (path) =>
      `LOAD DATA LOCAL INFILE '${path}' INTO TABLE people CHARACTER SET utf8mb4` +
      ` FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '' LINES TERMINATED BY '\\r\\n' IGNORE 1 LINES` +
      ` (id, name, @amount, born, seen, @active, share)` +
      ` SET amount = NULLIF(@amount, ''), active = NULLIF(@active, '')`,
  };

  test.each(["postgres", "mariadb"] as const)(
    "of what was exported is the same table where %s's own client does it",
    (server) =>
      withWorkshop(async (workshop) => {
        const scratch = scratches[server];
        await scratch.sql(FILL[server]);
        const before = await digest(server);
        const tables = [{ table: "people" }];
        const exported = await workshop.run(exportOf(scratch.dsn, { tables, content: "DATA" }));
        await scratch.sql("DELETE FROM people");
        await scratch.sql(LOAD[server](workshop.pathOf(exported)));
        expect(await digest(server)).toBe(before);
      }),
  );

  describe.each(["mariadb", "postgres"] as const)("into %s", (server) => {
    const importPeople = (workshop: Workshop, more: Partial<DataImport> = {}) =>
      workshop.run(importOf(scratches[server].dsn, "people", { batchRows: 2, ...more }));
    const names = () => scratches[server].sql("SELECT id, name FROM people ORDER BY id");

    test("reports the rows that it refuses, by their lines, and takes the others", () =>
      withWorkshop(async (workshop) => {
        await workshop.upload('id,name,amount\n1,a,1\n2,"b\nb",x\n3,c,3\n3,d,4\n5,e\n6,f,6\n');
        const result = await importPeople(workshop);
        expect(result).toMatchObject({ rows: 3, refused: 3, skipped: 0, report: "results/a.refused.csv" });
        const report = await readCsv(join(workshop.root, result.report!), "utf-8-sig");
        expect(report.map((row) => [row[0], ...row.slice(3)])).toEqual([
          ["row", "id", "name", "amount"],
          ["3", "2", "b\nb", "x"],
          ["6", "3", "d", "4"],
          ["7", "5", "e"],
        ]);
        expect(report[1]![2]).toMatch(/numeric|decimal/i);
        expect(report[2]![2]).toMatch(/duplicate/i);
        expect(report[3]![2]).toBe("has 2 fields, and the header has 3");
        expect(await names()).toBe("1\ta\n3\tc\n6\tf");
      }));

    test("fails after too many, says how many it wrote, and leaves no report", () =>
      withWorkshop(async (workshop) => {
        await workshop.upload("id,name\n1,a\n2,b\n2,c\n2,d\n2,e\n7,f\n");
        await expect(importPeople(workshop, { maxRefused: 1 })).rejects.toMatchObject({
          type: "FAILED_PRECONDITION",
          data: { reason: "TOO_MANY_REFUSED" },
          message: expect.stringMatching(
            /^more than 1 rows were refused, the last of them row 5: .*; 2 rows had been written$/,
          ),
        });
        expect(await workshop.left()).toEqual([]);
      }));

    test("writes nothing where it is dry, and reports as if it did", () =>
      withWorkshop(async (workshop) => {
        await workshop.upload("id,name\n1,a\n2,b\n2,c\n");
        expect(await importPeople(workshop, { dryRun: true })).toMatchObject({ rows: 2, refused: 1 });
        expect(await names()).toBe("");
      }));

    test.each([
      { onConflict: "skip", counts: { rows: 1, skipped: 1 }, after: "1\told\n2\tb" },
      { onConflict: "replace", counts: { rows: 2, skipped: 0 }, after: "1\ta\n2\tb" },
      { onConflict: "fail", counts: { rows: 1, refused: 1 }, after: "1\told\n2\tb" },
    ] as const)("does with a key that is there as it is told: $onConflict", ({ onConflict, counts, after }) =>
      withWorkshop(async (workshop) => {
        await scratches[server].sql("INSERT INTO people (id, name) VALUES (1, 'old')");
        await workshop.upload("id,name\n1,a\n2,b\n");
        expect(await importPeople(workshop, { onConflict })).toMatchObject(counts);
        expect(await names()).toBe(after);
      }),
    );

    test("maps columns, reads GBK and JSONL, and takes an empty field for NULL where there may be one", () =>
      withWorkshop(async (workshop) => {
        await workshop.upload(Buffer.from("b1e0bac52cd0d5c3fb2c780d0a312cc0eec0d72c0d0a322c2c0d0a", "hex"));
        const mapping = { 编号: "id", 姓名: "name" };
        expect(await importPeople(workshop, { encoding: "gbk", mapping })).toMatchObject({ rows: 2 });
        await workshop.upload('{"id":3,"name":"c","active":true}\n{"id":4,"name":"d"}\n');
        expect(await importPeople(workshop, { fileType: "JSONL" })).toMatchObject({ rows: 2 });
        expect(await names()).toBe("1\t李雷\n2\t\n3\tc\n4\td");
      }));

    test("is refused before it begins where a column, the table or the file is not there", () =>
      withWorkshop(async (workshop) => {
        const check = (more: Partial<DataImport> = {}) =>
          workshop.check(importOf(scratches[server].dsn, more.table ?? "people", more));
        await expect(check()).rejects.toMatchObject({ type: "NOT_FOUND" });
        await workshop.upload("id,colour\n1,red\n");
        await expect(check()).rejects.toMatchObject({
          type: "FAILED_PRECONDITION",
          message: 'the table "people" has no column "colour"',
        });
        await expect(check({ mapping: { size: "id" } })).rejects.toThrow('the file has no column "size"');
        await expect(check({ mapping: { id: "id", colour: "id" } })).rejects.toThrow(
          'two columns of the file go to the column "id"',
        );
        await expect(check({ table: "nowhere" })).rejects.toMatchObject({ type: "NOT_FOUND" });
        expect(await check({ mapping: { colour: "name", id: "id" } })).toEqual({});
      }));
  });

  test("leaves nothing of its own when it is cancelled", () =>
    withWorkshop(async (workshop) => {
      const lines = Array.from({ length: 300_000 }, (_, index) => `${index % 2_000},n`);
      await workshop.upload(`id,name\n${lines.join("\n")}\n`);
      const cancelling = new AbortController();
      const running = workshop.run(
        importOf(scratches.postgres.dsn, "people", { onConflict: "fail", batchRows: 500, maxRefused: 1_000_000 }),
        {
          signal: cancelling.signal,
          onProgress: ({ rows, totalBytes, bytes }) => {
            expect(bytes).toBeLessThanOrEqual(totalBytes!);
            if (rows > 3_000) cancelling.abort(new Error("not wanted any more"));
          },
        },
      );
      await expect(running).rejects.toThrow("not wanted any more");
      expect(await workshop.left()).toEqual([]);
    }));

  describe("of rows that are made up", () => {
    const spec = readGenerateSpec(
      {
        rows: 5_000,
        seed: 7,
        columns: [
          { name: "id", kind: "sequence" },
          { name: "name", kind: "pattern", pattern: "[a-z]{5}" },
          { name: "amount", kind: "decimal", null_ratio: 0.1 },
          { name: "active", kind: "boolean" },
        ],
      },
      "columns",
    );

    test("is the same file again", () =>
      withWorkshop(async (workshop) => {
        const work = { kind: "generate", spec, into: { format: CSV } } as const;
        expect(await workshop.check(work)).toEqual({ rows: 5_000 });
        const first = await workshop.run(work);
        expect(first).toMatchObject({ file: "results/a.csv", name: "报表.csv", rows: 5_000 });
        const rows = parse(await readFile(workshop.pathOf(first)));
        expect([rows.length, rows[0]]).toEqual([5_001, ["id", "name", "amount", "active"]]);
        expect((await workshop.run(work)).sha256).toBe(first.sha256);
        const other = await workshop.run({ ...work, spec: { ...spec, seed: 8 } });
        expect(other.sha256).not.toBe(first.sha256);
      }));

    test.each(["mariadb", "postgres"] as const)("is a table of %s", (server) =>
      withWorkshop(async (workshop) => {
        const into = { target: accessTo(scratches[server].dsn), table: "people" };
        await scratches[server].sql("INSERT INTO people (id, name) VALUES (17, 'old')");
        await workshop.check({ kind: "generate", spec, into });
        const result = await workshop.run({ kind: "generate", spec, into });
        expect(result).toMatchObject({ rows: 4_999, refused: 1, bytes: 0 });
        expect(await scratches[server].sql("SELECT COUNT(*), MAX(id) FROM people")).toBe("5000\t5000");
        const unknown = { ...spec, columns: [{ ...spec.columns[0]!, name: "colour" }] };
        await expect(workshop.check({ kind: "generate", spec: unknown, into })).rejects.toThrow('no column "colour"');
      }),
    );
  });
});

describeWith("mongodb", "an import into MongoDB", () => {
  const scratch = new Scratch("mongodb");

  test("has documents of the rows", () =>
    withWorkshop(async (workshop) => {
      await withMongo(scratch.dsn, async (client) => void (await client.db(scratch.name).createCollection("people")));
      await workshop.upload('{"_id":1,"name":"a","tags":["x"]}\n{"_id":2,"name":"b"}\n{"_id":2,"name":"c"}\n');
      const work = importOf(scratch.dsn, "people", { fileType: "JSONL" });
      await workshop.check(work);
      expect(await workshop.run(work)).toMatchObject({ rows: 2, refused: 1 });
      await withMongo(scratch.dsn, async (client) => {
        expect(await client.db(scratch.name).collection("people").find().sort({ _id: 1 }).toArray()).toEqual([
          { _id: 1, name: "a", tags: ["x"] },
          { _id: 2, name: "b" },
        ]);
      });
      await expect(workshop.check({ ...work, table: "nowhere" })).rejects.toMatchObject({ type: "NOT_FOUND" });
    }));
});

test("an import into SQLite takes true and false for what they are", () =>
  withWorkshop(async (workshop, directory) => {
    const path = join(directory, "a.db");
    const database = new DatabaseSync(path);
    database.exec("CREATE TABLE people (id INTEGER PRIMARY KEY, active BOOLEAN, note TEXT)");
    await workshop.upload("id,active,note\n1,true,true\n2,false,\n3,,x\n");
    expect(await workshop.run(importOf(`sqlite:${path}`, "people"))).toMatchObject({ rows: 3, refused: 0 });
    expect(database.prepare("SELECT id, active, note FROM people").all()).toEqual([
      { id: 1, active: 1, note: "true" },
      { id: 2, active: 0, note: null },
      { id: 3, active: null, note: "x" },
    ]);
    database.close();
  }));

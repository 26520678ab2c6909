import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Document } from "mongodb";
import type { Database, OnConflict, RefusedRow, Writing } from "../../lib/databases/database.ts";
import { parseDsn } from "../../lib/databases/dsn.ts";
import { openDatabase } from "../../lib/databases/open.ts";
import { exactNumber, type Row } from "../../lib/tabular/table.ts";
import { OPTIONS, readAll, Scratch, withDatabase, withMongo } from "../databases.ts";
import { describeWith } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";

/** Writes batches and answers what came of each. */
async function write(
  database: Database,
  writing: Partial<Writing> & { columns: readonly string[] },
  ...batches: Row[][]
) {
  const writer = await database.writer({ table: "t", onConflict: "fail", dryRun: false, ...writing });
  const results = [];
  try {
    for (const rows of batches) results.push(await writer.write(rows));
  } finally {
    await writer.close();
  }
  return results;
}

const places = (refused: readonly RefusedRow[]) => refused.map(({ index }) => index);

const TABLES = {
  postgres: `CREATE TABLE groups (id int PRIMARY KEY); INSERT INTO groups VALUES (1);
    CREATE TABLE t (id int PRIMARY KEY, name varchar(3) NOT NULL DEFAULT '-', price numeric(5,2) CHECK (price > 0), day date, flag boolean,
      bytes bytea, doc jsonb, list int[], "group" int REFERENCES groups (id) DEFERRABLE INITIALLY DEFERRED, text text)`,
  mariadb: `CREATE TABLE \`groups\` (id int PRIMARY KEY); INSERT INTO \`groups\` VALUES (1);
    CREATE TABLE t (id int PRIMARY KEY, name varchar(3) NOT NULL DEFAULT '-', price decimal(5,2) CHECK (price > 0), day date, flag boolean,
      bytes blob, doc json, list text, \`group\` int, text text, FOREIGN KEY (\`group\`) REFERENCES \`groups\` (id)) CHARACTER SET utf8mb4`,
};

describe.each(["mariadb", "postgres"] as const)("writing into a table: %s", (server) => {
  describeWith(server, "by texts and numbers", () => {
    const scratch = new Scratch(server);
    const writable = <T>(body: (database: Database) => Promise<T>) =>
      withDatabase(scratch.dsn, body, { readOnly: false });
    const count = () => scratch.sql("SELECT count(*) FROM t");
    const rowsOf = async (columns: string) => await scratch.sql(`SELECT ${columns} FROM t ORDER BY id`);

    beforeAll(async () => void (await scratch.sql(TABLES[server])));
    beforeEach(async () => void (await scratch.sql("DELETE FROM t")));

    test("the database reads texts as what its columns are", async () => {
      const columns = ["id", "name", "price", "day", "flag", "bytes", "doc", "list", "group", "text"];
      const flag = server === "postgres" ? ["true", "t"] : ["1", "1"];
      const rows: Row[] = [
        [
          "1",
          "abc",
          "1.50",
          "2026-11-26",
          flag[0],
          String.raw`\x00ff`,
          '{"a":1.10}',
          "{1,2}",
          "1",
          "a\tb\n\\N'\"\r\u{1f600}",
        ],
        [2, "", 2.25, null, false, null, null, undefined, null, String.raw`\N`],
        [3n, "x", exactNumber("3.10"), new Date("2026-11-27T00:00:00Z"), true, null, { b: [1] }, null, 1, ""],
      ];
      const [result] = await writable((database) => write(database, { columns }, rows));
      expect(result).toEqual({ written: 3, skipped: 0, refused: [] });
      expect(await rowsOf("id, name, price, day")).toBe(
        ["1\tabc\t1.50\t2026-11-26", "2\t\t2.25\tNULL", "3\tx\t3.10\t2026-11-27"].join("\n"),
      );
      const { rows: read } = await writable((database) =>
        readAll(database, { table: "t", columns: ["bytes", "text"], filter: "id = 1" }),
      );
      expect(read).toEqual([[String.raw`\x00ff`, "a\tb\n\\N'\"\r\u{1f600}"]]);
    });

    test("rows that it refuses are told with its reason, and the others are written", async () => {
      await scratch.sql("INSERT INTO t (id, name) VALUES (7, 'old')");
      const rows: Row[] = Array.from({ length: 1_000 }, (_, n) => [String(n), "ok", null, null]);
      rows[3] = ["abc", "ok", null, null];
      rows[4] = ["4", "long", null, null];
      rows[5] = ["5", null, null, null];
      rows[6] = ["6", "ok", "-1", null];
      rows[500] = ["8", "ok", null, null];
      rows[998] = ["998", "ok", "1000", null];
      rows[999] = ["999", "ok", null, "2"];
      const [result] = await writable((database) =>
        write(database, { columns: ["id", "name", "price", "group"] }, rows),
      );
      expect(places(result!.refused)).toEqual([3, 4, 5, 6, 7, 500, 998, 999]);
      expect(result).toMatchObject({ written: 992, skipped: 0 });
      expect(await count()).toBe("993");
      const reasons = result!.refused.map(({ reason }) => reason);
      expect(reasons[0]).toMatch(
        server === "postgres" ? /id: invalid input syntax for type integer: "abc"/ : /Incorrect integer value: 'abc'/,
      );
      expect(reasons[4]).toMatch(server === "postgres" ? /Key \(id\)=\(7\) already exists/ : /Duplicate entry '7'/);
      expect(reasons.every((reason) => reason !== "")).toBe(true);
    });

    test("a batch whose rows are all refused ends", async () => {
      const rows = Array.from({ length: 1_000 }, (): Row => ["no number", "ok"]);
      const [result] = await writable((database) => write(database, { columns: ["id", "name"] }, rows));
      expect(result).toMatchObject({ written: 0, skipped: 0 });
      expect(result!.refused).toHaveLength(1_000);
    });

    test("rows whose key is there are skipped, but no other error is", async () => {
      await scratch.sql("INSERT INTO t (id, name) VALUES (1, 'old')");
      const rows: Row[] = [
        ["1", "new"],
        ["2", "new"],
        ["2", "two"],
        ["x", "new"],
        ["3", "long"],
      ];
      const [result] = await writable((database) =>
        write(database, { columns: ["id", "name"], onConflict: "skip" }, rows),
      );
      expect(result).toMatchObject({ written: 1, skipped: 2 });
      expect(places(result!.refused)).toEqual([3, 4]);
      expect(await rowsOf("id, name")).toBe("1\told\n2\tnew");
    });

    test("rows whose key is there are replaced, the last of a key stays, and other columns are left", async () => {
      await scratch.sql("INSERT INTO t (id, name, text) VALUES (1, 'old', 'kept')");
      const rows: Row[] = [
        ["1", "new"],
        ["2", "one"],
        ["2", "two"],
        ["3", "long"],
      ];
      const [result] = await writable((database) =>
        write(database, { columns: ["id", "name"], onConflict: "replace" }, rows),
      );
      expect(result).toMatchObject({ written: 3, skipped: 0 });
      expect(places(result!.refused)).toEqual([3]);
      expect(await rowsOf("id, name, text")).toBe("1\tnew\tkept\n2\ttwo\tNULL");
    });

    test.each<OnConflict>(["fail", "skip", "replace"])(
      "a dry run (%s) tells the same and writes nothing",
      async (onConflict) => {
        const batches: Row[][] = [
          [
            ["1", "a"],
            ["x", "a"],
          ],
          [
            ["1", "b"],
            ["2", "b"],
          ],
        ];
        await writable(async (database) => {
          const dry = await write(database, { columns: ["id", "name"], onConflict, dryRun: true }, ...batches);
          expect(await count()).toBe("0");
          const wet = await write(database, { columns: ["id", "name"], onConflict }, ...batches);
          expect(dry).toEqual(wet);
          expect(await count()).toBe("2");
        });
      },
    );

    test("any text comes back as it was", async () => {
      const text = fc.string({ unit: "binary" }).map((any) => any.toWellFormed().replaceAll("\0", ""));
      await writable((database) =>
        fc.assert(
          fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 50 }), async (texts) => {
            await scratch.sql("DELETE FROM t");
            const [result] = await write(
              database,
              { columns: ["id", "text"] },
              texts.map((each, n) => [n, each]),
            );
            expect(result).toMatchObject({ written: texts.length, refused: [] });
            const { rows } = await readAll(database, { statement: "SELECT text FROM t ORDER BY id" });
            expect(rows).toEqual(texts.map((each) => [each]));
          }),
          { numRuns: 20 },
        ),
      );
    });

    test("an error that is no row's fails the batch, which leaves nothing", async () => {
      await writable(async (database) => {
        const writer = await database.writer({ table: "t", columns: ["id"], onConflict: "fail", dryRun: false });
        await scratch.sql("ALTER TABLE t RENAME TO gone");
        await expect(writer.write([[1]])).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
        await scratch.sql("ALTER TABLE gone RENAME TO t");
        expect(await writer.write([[2]])).toMatchObject({ written: 1 });
        await writer.close();
        expect(await rowsOf("id")).toBe("2");
      });
    });

    test("a batch that is cancelled leaves nothing", async () => {
      const cancelling = new AbortController();
      const database = await openDatabase(parseDsn(scratch.dsn), {
        ...OPTIONS,
        readOnly: false,
        signal: cancelling.signal,
      });
      const writer = await database.writer({ table: "t", columns: ["id", "text"], onConflict: "fail", dryRun: false });
      const writing = writer.write(Array.from({ length: 50_000 }, (_, n) => [n, "x".repeat(1_000)]));
      cancelling.abort(new Error("not wanted any more"));
      await expect(writing).rejects.toThrow("not wanted any more");
      await database.close();
      expect(await count()).toBe("0");
    });

    test("a column that is not there, and a database opened to read, are refused", async () => {
      const columns = ["id", "none"];
      await expect(writable((database) => write(database, { columns }, [[1, 2]]))).rejects.toMatchObject({
        data: { field: "columns" },
      });
      const readOnly = withDatabase(scratch.dsn, (database) => write(database, { columns: ["id"] }, [[1]]));
      await expect(readOnly).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    });
  });
});

describeWith("mariadb", "writing rows that are larger than a statement of MariaDB", () => {
  const scratch = new Scratch("mariadb");

  test("takes several, and a refused one leaves nothing of them twice", async () => {
    await scratch.sql("CREATE TABLE t (id int, text longtext) CHARACTER SET utf8mb4");
    const rows: Row[] = Array.from({ length: 40 }, (_, n) => [n === 39 ? "bad" : n, "\u7528".repeat(100_000)]);
    await withDatabase(
      scratch.dsn,
      async (database) => {
        const [result] = await write(database, { columns: ["id", "text"] }, rows);
        expect(result).toMatchObject({ written: 39, refused: [{ index: 39 }] });
      },
      { readOnly: false },
    );
    expect(await scratch.sql("SELECT count(*), min(char_length(text)) FROM t")).toBe("39\t100000");
  });
});

describe("writing into a table: SQLite", () => {
  const withTable = <T>(body: (database: Database, ask: (sql: string) => unknown[]) => Promise<T>) =>
    withTempDir(async (directory) => {
      const path = join(directory, "written.db");
      const made = new DatabaseSync(path);
      made.exec(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (length(name) < 4), bytes BLOB, text TEXT) STRICT",
      );
      try {
        return await withDatabase(`sqlite:${path}`, (database) => body(database, (sql) => made.prepare(sql).all()), {
          readOnly: false,
        });
      } finally {
        made.close();
      }
    });

  test("rows that it refuses are told with its reason, and the others are written", async () => {
    await withTable(async (database, ask) => {
      const rows: Row[] = [
        ["1", "ok", String.raw`\x00ff`],
        ["abc", "ok", null],
        ["2", "long", null],
        ["1", "ok", null],
        [3, null, null],
        [4, "ok", null],
      ];
      const [result] = await write(database, { columns: ["id", "name", "bytes"] }, rows);
      expect(result).toMatchObject({ written: 2, skipped: 0 });
      expect(places(result!.refused)).toEqual([1, 2, 3, 4]);
      expect(ask("SELECT id, hex(bytes) AS bytes FROM t ORDER BY id")).toEqual([
        { id: 1, bytes: "00FF" },
        { id: 4, bytes: "" },
      ]);
    });
  });

  test("skips, replaces, and rolls a dry run back", async () => {
    await withTable(async (database, ask) => {
      await write(database, { columns: ["id", "name", "text"] }, [[1, "old", "kept"]]);
      const rows: Row[] = [
        [1, "new"],
        [2, "new"],
        ["x", "new"],
      ];
      const columns = ["id", "name"];
      const all = "SELECT id, name, text FROM t ORDER BY id";
      const before = ask(all);
      const [dry] = await write(database, { columns, onConflict: "replace", dryRun: true }, rows);
      expect(dry).toMatchObject({ written: 2, refused: [{ index: 2 }] });
      expect(ask(all)).toEqual(before);
      const [skipped] = await write(database, { columns, onConflict: "skip" }, rows);
      expect(skipped).toMatchObject({ written: 1, skipped: 1, refused: [{ index: 2 }] });
      const [replaced] = await write(database, { columns, onConflict: "replace" }, [[1, "two"]]);
      expect(replaced).toMatchObject({ written: 1, skipped: 0 });
      expect(ask(all)).toEqual([
        { id: 1, name: "two", text: "kept" },
        { id: 2, name: "new", text: null },
      ]);
    });
  });
});

describeWith("mongodb", "writing into a collection", () => {
  const scratch = new Scratch("mongodb");

  const inCollection = (body: (database: Database, all: () => Promise<Document[]>) => Promise<void>) =>
    withMongo(scratch.dsn, async (client) => {
      const database = client.db(scratch.name);
      await database.dropCollection("t").catch(() => undefined);
      await database.createCollection("t", { validator: { name: { $type: "string" } } });
      await withDatabase(
        scratch.dsn,
        (opened) => body(opened, () => database.collection("t").find().sort({ _id: 1 }).toArray()),
        { readOnly: false },
      );
    });

  test("rows that it refuses are told with its reason, and the others are written", async () => {
    await inCollection(async (database, all) => {
      const rows: Row[] = [
        ["a", "ok"],
        ["b", 5],
        ["a", "ok"],
        ["c", "ok"],
      ];
      const [result] = await write(database, { columns: ["_id", "name"] }, rows);
      expect(result).toMatchObject({ written: 2, skipped: 0 });
      expect(places(result!.refused)).toEqual([1, 2]);
      expect(result!.refused[0]!.reason).toContain("validation");
      expect(await all()).toEqual([
        { _id: "a", name: "ok" },
        { _id: "c", name: "ok" },
      ]);
    });
  });

  test("skips, replaces, and rolls a dry run back", async () => {
    await inCollection(async (database, all) => {
      const columns = ["_id", "name"];
      await write(database, { columns }, [["a", "old"]]);
      const rows: Row[] = [
        ["a", "new"],
        ["b", "new"],
        ["c", 1],
      ];
      const [dry] = await write(database, { columns, onConflict: "replace", dryRun: true }, rows);
      expect(dry).toMatchObject({ written: 2, refused: [{ index: 2 }] });
      expect(await all()).toEqual([{ _id: "a", name: "old" }]);
      const [skipped] = await write(database, { columns, onConflict: "skip" }, rows);
      expect(skipped).toMatchObject({ written: 1, skipped: 1, refused: [{ index: 2 }] });
      expect(await all()).toEqual([
        { _id: "a", name: "old" },
        { _id: "b", name: "new" },
      ]);
      const [replaced] = await write(database, { columns, onConflict: "replace" }, rows);
      expect(replaced).toMatchObject({ written: 2, skipped: 0 });
      expect(await all()).toEqual([
        { _id: "a", name: "new" },
        { _id: "b", name: "new" },
      ]);
    });
  });
});

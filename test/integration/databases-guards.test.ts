import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "@jest/globals";
import type { SqlServerName } from "../databases.ts";
import { readAll, Scratch, withDatabase, withMongo } from "../databases.ts";
import { describeWith } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";

describe.each(["mariadb", "postgres"] as const)("the last guard against writes: %s", (server: SqlServerName) => {
  describeWith(server, "the transaction itself", () => {
    const scratch = new Scratch(server);
    const statements = {
      mariadb: [
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (2) RETURNING n",
        "DELETE FROM t",
        "TRUNCATE t",
        "DROP TABLE t",
        "CREATE TABLE u AS SELECT 1",
        "SELECT n FROM t FOR UPDATE",
        "SELECT 1; DELETE FROM t",
      ],
      postgres: [
        "INSERT INTO t VALUES (2) RETURNING n",
        "WITH gone AS (DELETE FROM t RETURNING n) SELECT n FROM gone",
        "TRUNCATE t",
        "DROP TABLE t",
        "CREATE TABLE u AS SELECT 1",
        "SELECT n INTO u FROM t",
        "SELECT n FROM t FOR UPDATE",
        "SELECT nextval('s')",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT 1; DELETE FROM t",
      ],
    }[server];

    beforeAll(async () => {
      await scratch.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1); CREATE SEQUENCE s");
    });

    test.each(statements.flatMap((statement) => [true, false].map((readOnly) => ({ statement, readOnly }))))(
      "refuses $statement (readOnly: $readOnly)",
      async ({ statement, readOnly }) => {
        await withDatabase(
          scratch.dsn,
          async (database) => {
            await expect(readAll(database, { statement })).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
            expect((await readAll(database, { table: "t" })).rows).toEqual([[1]]);
          },
          { readOnly },
        );
      },
    );
  });
});

describeWith("mongodb", "the last guard against writes: mongodb", () => {
  const scratch = new Scratch("mongodb");

  test.each([{ $out: "taken" }, { $merge: { into: "taken" } }])("refuses %j", async (stage) => {
    await withMongo(scratch.dsn, async (client) => {
      await client.db(scratch.name).collection("few").insertOne({ n: 1 });
      await withDatabase(scratch.dsn, async (database) => {
        const statement = JSON.stringify({ aggregate: "few", pipeline: [stage] });
        await expect(database.rows({ statement })).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
        await expect(database.estimate({ statement })).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
        expect(await database.tables()).toEqual(["few"]);
      });
    });
  });
});

describeWith([], "the last guard against writes: SQLite", () => {
  test.each([
    "INSERT INTO t VALUES (2) RETURNING n",
    "DELETE FROM t",
    "CREATE TABLE u (n)",
    "ATTACH 'other.db' AS other",
    "PRAGMA user_version = 1",
    "SELECT load_extension('x')",
    "VACUUM INTO 'copy.db'",
  ])("refuses %s", async (statement) => {
    await withTempDir(async (directory) => {
      const path = join(directory, "guarded.db");
      const made = new DatabaseSync(path);
      made.exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)");
      made.close();
      for (const readOnly of [true, false]) {
        await withDatabase(
          `sqlite:${path}`,
          async (database) => {
            await expect(readAll(database, { statement })).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
            expect((await readAll(database, { table: "t" })).rows).toEqual([[1]]);
          },
          { readOnly },
        );
      }
    });
  });
});

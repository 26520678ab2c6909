import { randomUUID } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import mysql from "mysql2/promise";
import pg from "pg";
import { DENIED_FUNCTIONS, isOf } from "../../lib/databases/denied-functions.ts";
import { corpusTables, statements } from "../sql-corpora.ts";
import { describeWith, serverUrl } from "../servers.ts";

/** What the guard takes (its unit tests) the databases take too, and what it denies is really there. */
const schema = `guard_${randomUUID().slice(0, 8)}`;

describeWith("postgres", "PostgreSQL", () => {
  const client = new pg.Client(serverUrl("postgres"));

  beforeAll(async () => {
    await client.connect();
    await client.query(`CREATE SCHEMA ${schema}; SET search_path = ${schema}`);
    for (const table of corpusTables({ time: "timestamp", json: "jsonb" })) await client.query(table);
  });

  afterAll(async () => {
    await client.query(`DROP SCHEMA ${schema} CASCADE`);
    await client.end();
  });

  test.each(statements.postgresql)("explains %s", async (sql) => {
    await client.query(`EXPLAIN ${sql}`);
  });

  test("has every function that is denied", async () => {
    const names = "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace";
    const { rows } = await client.query<{ proname: string }>(names);
    const missing = DENIED_FUNCTIONS.postgresql.own.filter(
      (pattern) => !rows.some((row) => isOf(pattern, row.proname)),
    );
    expect(missing).toEqual([]);
  });

  test("calls a function that is written as a field", async () => {
    const { rows } = await client.query("SELECT ('abc'::text).length AS n");
    expect(rows).toEqual([{ n: 3 }]);
  });
});

describeWith("mariadb", "MariaDB", () => {
  let connection: mysql.Connection;

  beforeAll(async () => {
    connection = await mysql.createConnection(serverUrl("mariadb"));
    await connection.query(`CREATE DATABASE ${schema} CHARACTER SET utf8mb4`);
    await connection.query(`USE ${schema}`);
    await connection.query("SET NAMES utf8mb4");
    for (const table of corpusTables({ time: "datetime", json: "json" })) await connection.query(table);
  });

  afterAll(async () => {
    await connection.query(`DROP DATABASE ${schema}`);
    await connection.end();
  });

  test.each(statements.mariadb)("explains %s", async (sql) => {
    await connection.query(`EXPLAIN ${sql}`);
  });

  test.each(DENIED_FUNCTIONS.mariadb.own)("has the function %s", async (name) => {
    // Without its arguments it is no more than known: wrong in their number, or in the syntax of a sequence's function.
    const error = await connection.query(`SELECT ${name}()`).then(
      () => undefined,
      (thrown: mysql.QueryError) => thrown,
    );
    expect(error?.code ?? "called").not.toBe("ER_SP_DOES_NOT_EXIST");
  });

  test("lacks a function that nobody has", async () => {
    await expect(connection.query("SELECT no_such_thing()")).rejects.toMatchObject({ code: "ER_SP_DOES_NOT_EXIST" });
  });

  test("calls a function by its quoted name", async () => {
    const [rows] = await connection.query("SELECT `sleep`(0) AS n");
    expect(rows).toEqual([{ n: 0 }]);
  });
});

describe("SQLite", () => {
  const database = new DatabaseSync(":memory:");
  for (const table of corpusTables({ time: "text", json: "text" })) database.exec(table);
  afterAll(() => database.close());

  test.each(statements.sqlite)("explains %s", (sql) => {
    database.prepare(`EXPLAIN ${sql}`).all();
  });

  test("has every function that is denied", () => {
    const functions = database.prepare("SELECT name FROM pragma_function_list").all();
    expect(functions).toContainEqual({ name: "load_extension" });
    // It may write statistics.
    database.prepare("SELECT * FROM pragma_optimize").all();
    expect(DENIED_FUNCTIONS.sqlite.own).toEqual(["load_extension", "pragma_*"]);
  });
});

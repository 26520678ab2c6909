import { expect, test } from "@jest/globals";
import { checkMysqlFilter, checkMysqlStatement } from "../../../../lib/databases/mysql-tree.ts";
import { tokenize } from "../../../../lib/databases/sql-tokens.ts";

/** What the rules for tokens would refuse before: the tree refuses it by itself. */
test.each([
  ["DELETE FROM x", /DELETE/],
  ["DROP TABLE x", /DROP/],
  ["UPDATE x SET a = 1", /UPDATE/],
  ["WITH a AS (SELECT 1) DELETE FROM x", /DELETE/],
  ["SELECT 1 INTO OUTFILE '/tmp/x'", /INTO/],
  ["SELECT a INTO @b FROM x", /INTO/],
  ["SELECT @a := 1", /ASSIGN/],
  ["SELECT a FROM x FOR UPDATE", /lock rows/],
  ["SELECT a FROM (SELECT a FROM x FOR UPDATE) y", /lock rows/],
  ["SELECT :a", /PARAM/],
  ["SELECT 1; DROP TABLE x", /DROP/],
])("the tree of %s is not that of a query", async (sql, reason) => {
  await expect(checkMysqlStatement(sql, tokenize("mysql", sql))).rejects.toThrow(reason);
});

test.each([
  "a = 1) GROUP BY (b",
  "a = 1) ORDER BY (b",
  "a = 1) UNION (SELECT 1",
  "a = 1) LIMIT (1",
  "a = 1) FOR UPDATE (",
])("the tree of %s is not that of a condition", async (sql) => {
  // The tokens are of no account here.
  const token = { kind: "word" as const, text: sql, at: 0, end: sql.length };
  await expect(checkMysqlFilter(sql, [token])).rejects.toThrow(/nothing after it|unexpected/);
});

test("a list is as long as it was for whatever follows it", async () => {
  const sql = "SELECT f(1, 'a', 2) FROM x WHERE a IN ('b', 'c''d', 3.5, .5) AND";
  await expect(checkMysqlStatement(sql, tokenize("mysql", sql))).rejects.toThrow(`at character ${sql.length + 1}`);
});

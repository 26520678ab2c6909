import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { scan } from "libpg-query";
import type { Dialect } from "../../../../lib/databases/database.ts";
import { checkFilter, checkStatement, quoteIdentifier } from "../../../../lib/databases/sql-guard.ts";
import type { SqlDialect } from "../../../../lib/databases/sql-tokens.ts";
import { tokenize } from "../../../../lib/databases/sql-tokens.ts";
import { mysql8Statements, statements } from "../../../sql-corpora.ts";

const SQL_DIALECTS = ["mysql", "mariadb", "postgresql", "sqlite"] as const;

/** The error's message; fails where there is none. */
async function refusal(checked: Promise<void>): Promise<string> {
  const error = await checked.then(
    () => undefined,
    (thrown: unknown) => thrown as Error,
  );
  expect(error).toMatchObject({ type: "INVALID_ARGUMENT", data: { field: "sql" } });
  return error!.message;
}

const statement = (dialect: Dialect, sql: string) => checkStatement(dialect, sql, "sql");
const filter = (dialect: Dialect, sql: string) => checkFilter(dialect, sql, "sql");

describe.each(SQL_DIALECTS)("a statement of %s", (dialect) => {
  test.each([...statements[dialect], ...(dialect === "mysql" ? mysql8Statements : [])])("may be: %s", (sql) =>
    statement(dialect, sql),
  );

  test.each([
    ["", /must not be empty/],
    [" -- nothing\n", /must not be empty/],
    ["SELECT 1; DROP TABLE x", /one statement.*character 11/],
    ["SELECT 1; SELECT 2", /one statement/],
    ["SELECT 1;;", /one statement/],
    ["SELECT 1 /* ; */ ; /* x */ DROP TABLE x", /one statement/],
    ["SELECT 1 -- ;\n; DROP TABLE x", /one statement/],
    ["SELECT 'a'';' ; DROP TABLE x -- '", /one statement/],
    ["DROP TABLE x", /begins with DROP/],
    ["/* SELECT */ DELETE FROM users", /begins with DELETE/],
    ["INSERT INTO users (id) VALUES (1)", /begins with INSERT/],
    ["UPDATE users SET id = 1", /begins with UPDATE/],
    ["CREATE TABLE x AS SELECT 1", /begins with CREATE/],
    ["EXPLAIN ANALYZE SELECT 1", /begins with EXPLAIN/],
    ["SET x = 1", /begins with SET/],
    ["CALL f()", /begins with CALL/],
    ["DO 1", /begins with DO/],
    ["LOCK TABLES users WRITE", /begins with LOCK/],
    ["COPY users TO PROGRAM 'sh'", /begins with COPY/],
    ["BEGIN", /begins with BEGIN/],
    ["ATTACH 'x' AS y", /begins with ATTACH/],
    ["PRAGMA writable_schema = 1", /begins with PRAGMA/],
    ["WITH gone AS (DELETE FROM users RETURNING id) SELECT * FROM gone", /DELETE/],
    ["WITH a AS (SELECT 1) DELETE FROM users", /DELETE/],
    ["WITH a AS (SELECT 1) INSERT INTO users SELECT * FROM a", /INSERT|INTO/],
    ["SELECT 1 INTO x FROM users", /only read/],
    ["SELECT 'a", /not closed/],
    ['SELECT "a', /not closed/],
    ["SELECT 1 /* a", /does not end/],
    ["SELECT (1", /not closed/],
    ["SELECT 1)", /closes nothing/],
    ["SELECT 1 \0", /NUL/],
    ["SELECT '\ud800'", /Unicode/],
    ["SELECT 1 \u0007", /unexpected character/],
    ["SELECT id FROM WHERE", /unexpected|syntax/],
    [`SELECT ${"(".repeat(200_000)}1${")".repeat(200_000)}`, /nested deeper than 100/],
    [`SELECT '${"x".repeat(1024 * 1024)}'`, /at most 1048576 bytes/],
    ["SELECT 'it\\'s'", /backslash before a quote/],
    ["SELECT 'a\\' , '; DROP TABLE x; --'", /backslash before a quote/],
  ])("must not be: %.60s", async (sql, reason) => {
    expect(await refusal(statement(dialect, sql))).toMatch(reason);
  });

  test("may have a list of many values", async () => {
    await statement(dialect, `SELECT id FROM users WHERE id IN (${"12345, ".repeat(140_000)}1)`);
  });

  test("is refused whatever disguise a second one has", async () => {
    const space = fc.constantFrom("", " ", "\n", "\t", "\r\n", "/**/", "/* ; */", "-- ;\n", "-- '\n");
    const drop = fc.constantFrom("DROP TABLE x", "drop/**/table x", "COMMIT; DROP TABLE x", "SELECT 2", "'", "(", "x");
    const property = fc.asyncProperty(
      fc.constantFrom(...statements[dialect]),
      fc.nat(),
      fc.tuple(space, space, drop, space),
      async (sql, seed, [before, between, second, after]) => {
        const ends = tokenize(dialect, sql).flatMap(({ kind, end }) => (kind === "comment" ? [] : [end]));
        const end = ends[seed % ends.length]!;
        const text = `${sql.slice(0, end)}${before};${between}${second}${after}${sql.slice(end)}`;
        await expect(statement(dialect, text)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
      },
    );
    await fc.assert(property, { numRuns: 300 });
  });

  test("may hold any text between quotes", async () => {
    const text = fc
      .string({ unit: "grapheme", maxLength: 30 })
      .filter((text) => !/\\|\0/.test(text) && text.isWellFormed());
    const property = fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 5 }), async (texts) => {
      const list = texts.map((text) => `'${text.replaceAll("'", "''")}'`);
      await statement(dialect, `SELECT ${list.join(", ")} FROM users WHERE name = ${list[0]!}`);
    });
    await fc.assert(property, { numRuns: 200 });
  });
});

describe("a statement must not", () => {
  test.each([
    ["mysql", `SELECT ${"CAST(".repeat(30)}1${" AS char)".repeat(30)}`, /more than 3 s/],
    ["postgresql", `SELECT 1${" + 1".repeat(200_000)}`, /too long a chain/],
    ["postgresql", `SELECT ${"NOT ".repeat(200_000)}true`, /exhausted/],
    ["sqlite", `SELECT 1${" + 1".repeat(200_000)}`, /too large/],
  ] as const)("hold up the parser of %s", async (dialect, sql, reason) => {
    const begun = performance.now();
    expect(await refusal(statement(dialect, sql))).toMatch(reason);
    expect(performance.now() - begun).toBeLessThan(6_000);
    // The next one is not the worse for it.
    await statement(dialect, "SELECT 1");
  });

  const cases: [SqlDialect, string, RegExp][] = [
    ["mysql", "SELECT * FROM users INTO OUTFILE '/tmp/x'", /INTO/],
    ["mysql", "SELECT * INTO DUMPFILE '/tmp/x' FROM users", /INTO/],
    ["mysql", "SELECT id INTO @x FROM users", /INTO|variable/],
    ["mysql", "SELECT id FROM users FOR UPDATE", /lock rows/],
    ["mysql", "SELECT id FROM users FOR SHARE", /lock rows/],
    ["mariadb", "SELECT id FROM users LOCK IN SHARE MODE", /lock rows/],
    ["mysql", "SELECT @a := 1", /variable/],
    ["mysql", "SELECT ?", /parameter/],
    ["mysql", "SELECT LOAD_FILE('/etc/passwd')", /call load_file/],
    ["mysql", "SELECT SLEEP(10)", /call sleep/],
    ["mysql", "SELECT sleep/* */\n(10)", /call sleep/],
    ["mysql", "SELECT `sleep`(10)", /call sleep/],
    ["mysql", "SELECT BENCHMARK(1000000, MD5('x'))", /call benchmark/],
    ["mysql", "SELECT GET_LOCK('x', 10)", /call get_lock/],
    ["mysql", "SELECT sys_eval('id')", /call sys_eval/],
    ["mysql", "SELECT /*!50000 SLEEP(10) */ 1", /database runs/],
    ["mariadb", "SELECT /*M!100000 SLEEP(10) */ 1", /database runs/],
    ["mysql", "SELECT /*+ MAX_EXECUTION_TIME(0) */ 1", /database runs/],
    ["mysql", "SELECT 1--1", /two minuses/],
    ["mysql", "SELECT 1 # '\n; DROP TABLE x", /one statement/],
    ["mysql", "SELECT id FROM users PROCEDURE ANALYSE()", /PROCEDURE/],
    ["mariadb", "SELECT NEXT VALUE FOR s", /sequence/],
    ["mariadb", "SELECT NEXTVAL(s)", /call nextval/],
    ["postgresql", "SELECT pg_read_file('/etc/passwd')", /call pg_read_file/],
    ["postgresql", "SELECT pg_catalog.pg_read_file('/etc/passwd')", /call pg_read_file/],
    ["postgresql", "SELECT \"pg_read_file\"('/etc/passwd')", /call pg_read_file/],
    ["postgresql", "SELECT U&\"pg\\005Fread_file\"('/etc/passwd')", /call pg_read_file/],
    ["postgresql", "SELECT ('/etc/passwd').pg_read_file", /call pg_read_file/],
    ["postgresql", "SELECT * FROM pg_ls_dir('.')", /call pg_ls_dir/],
    ["postgresql", "SELECT lo_export(1, '/tmp/x')", /call lo_export/],
    ["postgresql", "SELECT * FROM dblink('host=x', 'DROP TABLE x') AS t(a int)", /call dblink/],
    ["postgresql", "SELECT query_to_xml('DROP TABLE x', true, true, '')", /call query_to_xml/],
    ["postgresql", "SELECT set_config('transaction_read_only', 'off', false)", /call set_config/],
    ["postgresql", "SELECT pg_sleep(100)", /call pg_sleep/],
    ["postgresql", "SELECT pg_terminate_backend(1)", /call pg_terminate_backend/],
    ["postgresql", "SELECT nextval('s')", /call nextval/],
    ["postgresql", "SELECT id FROM users FOR UPDATE", /lock rows/],
    ["postgresql", "SELECT id FROM users FOR NO KEY UPDATE SKIP LOCKED", /lock rows/],
    ["postgresql", "SELECT * FROM (SELECT id FROM users FOR SHARE) x", /lock rows/],
    ["postgresql", "SELECT id INTO TEMP x FROM users", /only read/],
    ["postgresql", "SELECT $1", /parameter/],
    ["postgresql", "SELECT $a$ ; $a$; DROP TABLE x --$a$", /one statement/],
    ["postgresql", "SELECT $a$ ; $b$; DROP TABLE x", /dollar quote/],
    ["postgresql", "SELECT /* /* */ 1; DROP TABLE x */ 2 /*", /does not end/],
    ["postgresql", "SELECT /* /* */ ; */ 1; DROP TABLE x", /one statement/],
    ["postgresql", "WITH a AS (UPDATE users SET id = 1 RETURNING id) SELECT * FROM a", /UPDATE/],
    ["postgresql", "SELECT * FROM a WHERE id IN (WITH x AS (INSERT INTO b VALUES (1) RETURNING 1) SELECT 1)", /INSERT/],
    ["sqlite", "SELECT load_extension('x')", /call load_extension/],
    ["sqlite", "SELECT \"load_extension\"('x')", /call load_extension/],
    ["sqlite", "SELECT writefile('x', 'y')", /call writefile/],
    ["sqlite", "SELECT * FROM pragma_wal_checkpoint", /call pragma_wal_checkpoint/],
    ["sqlite", "SELECT * FROM 'pragma_wal_checkpoint'", /call pragma_wal_checkpoint/],
    ["sqlite", "SELECT ?1", /parameter/],
    ["sqlite", "SELECT :a", /parameter/],
    ["sqlite", "SELECT $a", /parameter/],
    ["sqlite", "SELECT [a;b] FROM x; DROP TABLE x", /one statement/],
    ["sqlite", "WITH a AS (SELECT 1) REPLACE INTO users SELECT * FROM a", /INTO/],
  ];
  test.each(cases)("of %s be: %s", async (dialect, sql, reason) => {
    expect(await refusal(statement(dialect, sql))).toMatch(reason);
  });

  test("end before PostgreSQL says that it does", async () => {
    const piece = fc.constantFrom(
      ..."'\"\\$;-/*\n\r ()".split(""),
      ...[
        "''",
        "--",
        "/*",
        "*/",
        "$$",
        "$a$",
        "E'",
        "e'",
        "U&'",
        "B'",
        "N'",
        "a",
        "1",
        "$1",
        "é",
        'U&"',
        "\\'",
        "/* */",
      ],
    );
    const property = fc.asyncProperty(fc.array(piece, { maxLength: 25 }), async (pieces) => {
      const sql = pieces.join("");
      let ours: number[];
      try {
        ours = tokenize("postgresql", sql).flatMap(({ kind, text, at }) =>
          kind === "symbol" && text === ";" ? [at] : [],
        );
      } catch {
        return;
      }
      const { tokens } = await scan(sql).catch(() => ({ tokens: [] }));
      const bytes = Buffer.from(sql);
      const theirs = tokens.flatMap(({ text, start }) =>
        text === ";" ? [bytes.toString("utf8", 0, start).length] : [],
      );
      if (tokens.length > 0) expect(ours).toEqual(theirs);
    });
    await fc.assert(property, { numRuns: 3_000, examples: [[['U&"', ";", '"']]] });
  });
});

describe.each(SQL_DIALECTS)("a filter of %s", (dialect) => {
  test.each([
    "id = 1",
    "age >= 18 AND (country = 'DE' OR country IS NULL)",
    "name LIKE 'A%' AND NOT (id IN (1, 2, 3))",
    "placed_at BETWEEN '2026-01-01' AND '2026-02-01'",
    "UPPER(name) = 'X' OR COALESCE(age, 0) + 1 > 2",
    "note = '; DROP TABLE x --' OR note = 'SELECT'",
    "CASE WHEN age > 1 THEN 1 ELSE 0 END = 1",
    "1 = 1",
  ])("may be: %s", (sql) => filter(dialect, sql));

  test.each([
    ["", /must not be empty/],
    ["   ", /must not be empty/],
    ["1=1) UNION SELECT * FROM secrets", /closes nothing|UNION/],
    ["1=1) UNION (SELECT 1", /closes nothing|UNION/],
    ["1=1) OR (1=1", /closes nothing/],
    ["1=1; DROP TABLE x", /one condition/],
    ["1=1 -- and", /comment/],
    ["1=1 /* and */", /comment/],
    ["1=1 OR name = 'a", /not closed/],
    ["(1=1", /not closed/],
    ["1=1 ORDER BY id", /ORDER|unexpected/i],
    ["1=1 LIMIT 1", /LIMIT|unexpected/i],
    ["1=1 GROUP BY id", /GROUP|unexpected/i],
    ["1=1 HAVING 1=1", /HAVING|unexpected/i],
    ["id IN (SELECT id FROM secrets)", /SELECT/],
    ["EXISTS (SELECT 1 FROM secrets)", /SELECT/],
    ["id IN (WITH a AS (SELECT 1) SELECT * FROM a)", /WITH/],
    ["id = 1, id = 2", /one condition/],
    ["id =", /unexpected|syntax/],
    ["note = 'a\\' OR 1=1", /backslash/],
  ])("must not be: %s", async (sql, reason) => {
    expect(await refusal(filter(dialect, sql))).toMatch(reason);
  });

  test("must not go on after its end", async () => {
    const tail = fc.constantFrom(
      "ORDER BY 1",
      "LIMIT 1",
      "UNION SELECT 1",
      "; SELECT 1",
      ") OR (1=1",
      "-- x",
      "/* x",
      "'",
      ")",
      "(",
    );
    const condition = fc.constantFrom("id = 1", "name LIKE 'A%'", "(id = 1)", "age IN (1, 2)", "name = 'a''b'");
    const space = fc.constantFrom(" ", "\n", "\t");
    const property = fc.asyncProperty(condition, space, tail, async (sql, between, more) => {
      await expect(filter(dialect, sql + between + more)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
    });
    await fc.assert(property, { numRuns: 100 });
  });
});

describe("a filter must not", () => {
  const cases: [SqlDialect, string, RegExp][] = [
    ["postgresql", "pg_sleep(10) IS NULL", /call pg_sleep/],
    ["postgresql", "('/etc/passwd').pg_read_file = 'x'", /call pg_read_file/],
    ["postgresql", "id IN (TABLE secrets)", /TABLE/],
    ["postgresql", "id = ANY (VALUES (1))", /query/],
    ["postgresql", "id = $1", /parameter/],
    ["mysql", "SLEEP(10)", /call sleep/],
    ["mysql", "id = 1 PROCEDURE ANALYSE()", /PROCEDURE/],
    ["mysql", "1=1 INTO OUTFILE '/tmp/x'", /INTO/],
    ["mysql", "1=1 FOR UPDATE", /lock rows/],
    ["mysql", "1=1 # x", /comment/],
    ["mysql", "/*!1=1*/", /database runs/],
    ["sqlite", "id IN secrets", /list in parentheses/],
    ["sqlite", "id NOT IN main.secrets", /list in parentheses/],
    ["sqlite", "load_extension('x')", /call load_extension/],
  ];
  test.each(cases)("of %s be: %s", async (dialect, sql, reason) => {
    expect(await refusal(filter(dialect, sql))).toMatch(reason);
  });
});

describe("a statement of MongoDB", () => {
  test.each([
    '{"aggregate": "users", "pipeline": []}',
    '{"aggregate": "users", "pipeline": [{"$match": {"at": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}}}, {"$limit": 5}]}',
    '{"aggregate": "a", "pipeline": [{"$lookup": {"from": "b", "pipeline": [{"$match": {}}], "as": "c"}}], "let": {"x": 1}}',
    '{"aggregate": "a", "pipeline": [{"$facet": {"x": [{"$count": "n"}]}}], "collation": {"locale": "de"}, "hint": "a_1"}',
  ])("may be: %s", (text) => statement("mongodb", text));

  test.each([
    ["SELECT 1", /not JSON/],
    ["[]", /JSON object/],
    ["null", /JSON object/],
    ['{"pipeline": []}', /"aggregate"/],
    ['{"aggregate": 1, "pipeline": []}', /"aggregate"/],
    ['{"aggregate": "a"}', /"pipeline"/],
    ['{"aggregate": "a", "pipeline": {}}', /array of stages/],
    ['{"aggregate": "a", "pipeline": [], "writeConcern": {}}', /unknown field "writeConcern"/],
    ['{"aggregate": "a", "pipeline": [{"$out": "b"}]}', /pipeline\[0\].*\$out/],
    ['{"aggregate": "a", "pipeline": [{"$match": {}}, {"$merge": {"into": "b"}}]}', /pipeline\[1\].*\$merge/],
    ['{"aggregate": "a", "pipeline": [{"$match": {}, "$out": "b"}]}', /one stage/],
    ['{"aggregate": "a", "pipeline": ["$out"]}', /one stage/],
    ['{"aggregate": "a", "pipeline": [{"$facet": {"x": [{"$out": "b"}]}}]}', /facet\.x\[0\].*\$out/],
    ['{"aggregate": "a", "pipeline": [{"$unionWith": {"coll": "b", "pipeline": [{"$merge": "c"}]}}]}', /\$merge/],
    ['{"aggregate": "a", "pipeline": [{"$currentOp": {}}]}', /\$currentOp/],
    ['{"aggregate": "a", "pipeline": [{"$match": {"$where": "sleep(1)"}}]}', /JavaScript.*\$where/],
    ['{"aggregate": "a", "pipeline": [{"$project": {"x": {"$function": {"body": "x"}}}}]}', /JavaScript.*\$function/],
    ['{"aggregate": "a", "pipeline": [{"$group": {"_id": 1, "x": {"$accumulator": {}}}}]}', /\$accumulator/],
    ['{"aggregate": "a", "pipeline": [{"$match": {"x": {"$oid": "no"}}}]}', /not EJSON/],
    [`{"aggregate": "a", "pipeline": [{"$match": ${'{"a":'.repeat(200)}1${"}".repeat(200)}}]}`, /nested deeper/],
    [`${"[".repeat(300_000)}${"]".repeat(300_000)}`, /JSON object|not JSON/],
  ])("must not be: %.90s", async (text, reason) => {
    expect(await refusal(statement("mongodb", text))).toMatch(reason);
  });

  test("has filters that run no JavaScript", async () => {
    await filter("mongodb", '{"age": {"$gt": 5}, "_id": {"$oid": "507f1f77bcf86cd799439011"}}');
    await filter("mongodb", '{"$expr": {"$gt": ["$a", "$b"]}}');
    const bad = ['{"$where": "1"}', '{"$expr": {"$function": {}}}', '{"a": {"$code": "x"}}', "[]", "{"];
    for (const text of bad) await refusal(filter("mongodb", text));
  });
});

describe("a name", () => {
  test("is quoted as its database has it", () => {
    expect(quoteIdentifier("mysql", 'a`b"c')).toBe('`a``b"c`');
    expect(quoteIdentifier("mariadb", "表")).toBe("`表`");
    expect(quoteIdentifier("postgresql", 'a`b"c')).toBe('"a`b""c"');
    expect(quoteIdentifier("sqlite", "a b")).toBe('"a b"');
    for (const name of ["", "a\0b", "x".repeat(256), "\ud800"])
      expect(() => quoteIdentifier("sqlite", name)).toThrow(TypeError);
    expect(() => quoteIdentifier("mongodb", "a")).toThrow(TypeError);
  });

  test.each(SQL_DIALECTS)("of %s cannot end its quotes", (dialect) => {
    const property = fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }), (name) => {
      fc.pre(name.isWellFormed() && !/[\0\\]/.test(name));
      const tokens = tokenize(dialect, quoteIdentifier(dialect, name));
      expect(tokens).toMatchObject([{ kind: "quoted", text: name }]);
    });
    fc.assert(property);
  });
});

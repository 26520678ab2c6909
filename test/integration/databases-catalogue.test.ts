import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { BSON } from "mongodb";
import { Scratch, withDatabase, withMongo } from "../databases.ts";
import { describeWith } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";

describeWith("postgres", "the catalogue of PostgreSQL", () => {
  const scratch = new Scratch("postgres");
  const copy = new Scratch("postgres");

  beforeAll(() =>
    scratch.sql(`
      CREATE SCHEMA other;
      CREATE TABLE other.away (id int PRIMARY KEY, "t" text);
      CREATE TYPE mood AS ENUM ('sad', 'ok');
      CREATE TABLE parent (a int, b text, PRIMARY KEY (b, a));
      CREATE TABLE "Odd ""name" (
        id bigint GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 2) PRIMARY KEY,
        number serial,
        "two words" varchar(20) COLLATE "C" NOT NULL DEFAULT 'it''s',
        price numeric(10,2) CHECK (price > 0),
        twice numeric GENERATED ALWAYS AS (price * 2) STORED,
        tags text[] DEFAULT '{}',
        at timestamptz(3) DEFAULT now(),
        feeling mood,
        a int, b text,
        UNIQUE (number) DEFERRABLE INITIALLY DEFERRED,
        CONSTRAINT "to parent" FOREIGN KEY (b, a) REFERENCES parent (b, a) ON DELETE CASCADE,
        EXCLUDE USING gist (int4range(number, number + 1) WITH &&)
      ) WITH (fillfactor = 70);
      CREATE INDEX lower_words ON "Odd ""name" (lower("two words") DESC NULLS LAST) INCLUDE (price) WHERE price > 1;
      CREATE UNIQUE INDEX unique_tags ON "Odd ""name" USING btree (tags);
      COMMENT ON TABLE "Odd ""name" IS 'it''s odd';
      COMMENT ON COLUMN "Odd ""name".price IS 'in euros';
      CREATE UNLOGGED TABLE parts (n int, at date) PARTITION BY RANGE (at);
      CREATE VIEW seen AS SELECT id, price FROM "Odd ""name" WHERE price > 5;
      CREATE MATERIALIZED VIEW stored AS SELECT 1 AS one;
      CREATE INDEX one_of_stored ON stored (one);
    `),
  );

  test("names tables and views, those of other schemas with them", async () => {
    const tables = await withDatabase(scratch.dsn, (database) => database.tables());
    expect(tables).toEqual(['Odd "name', "other.away", "parent", "parts", "seen", "stored"]);
  });

  test("tells the columns", async () => {
    await withDatabase(scratch.dsn, async (database) => {
      const columns = await database.columns('Odd "name');
      expect(columns.slice(0, 5)).toEqual([
        { name: "id", type: "bigint", nullable: false, key: "PRI" },
        {
          name: "number",
          type: "integer",
          nullable: false,
          default: `nextval('"Odd ""name_number_seq"'::regclass)`,
          key: "",
        },
        {
          name: "two words",
          type: "character varying(20)",
          nullable: false,
          default: "'it''s'::character varying",
          key: "",
        },
        { name: "price", type: "numeric(10,2)", nullable: true, key: "", comment: "in euros" },
        { name: "twice", type: "numeric", nullable: true, key: "" },
      ]);
      expect(await database.columns("other.away")).toHaveLength(2);
      await expect(database.columns("away")).rejects.toMatchObject({ type: "NOT_FOUND" });
      await expect(database.columns("pg_class")).rejects.toMatchObject({ type: "NOT_FOUND" });
    });
  });

  test("what it tells of a table makes the same one in an empty database", async () => {
    const statements = await withDatabase(scratch.dsn, async (database) => {
      const texts = [];
      for (const table of ["parent", 'Odd "name', "parts", "seen", "stored"])
        texts.push(await database.createStatement(table));
      return texts;
    });
    await copy.sql(`CREATE TYPE mood AS ENUM ('sad', 'ok'); ${statements.join("\n")}`);
    for (const query of CATALOGUE) expect(await copy.sql(query)).toBe(await scratch.sql(query));
    const again = await withDatabase(copy.dsn, async (database) => database.createStatement('Odd "name'));
    expect(again).toBe(statements[1]);
  });

  test("names the schema of a table of another one", async () => {
    const statement = await withDatabase(scratch.dsn, (database) => database.createStatement("other.away"));
    await copy.sql(`CREATE SCHEMA other; ${statement}`);
    expect(await copy.sql("SELECT count(*) FROM other.away")).toBe("0");
  });

  test("expects rows, and refuses what it would not run", async () => {
    await withDatabase(scratch.dsn, async (database) => {
      const statement = "SELECT * FROM generate_series(1, 1000)";
      expect(await database.estimate({ statement })).toBe(1000);
      expect(await database.estimate({ table: "parent", filter: "a > 1" })).toBeGreaterThan(0);
      for (const bad of [
        "SELECT nothing",
        "INSERT INTO parent VALUES (1, 'a') RETURNING a",
        "COPY parent TO STDOUT",
        "SELECT 1; SELECT 2",
      ])
        await expect(database.estimate({ statement: bad })).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    });
  });

  /** What pg_dump looks at, without what differs by chance. */
  const MINE = "relnamespace = 'public'::regnamespace";
  const CATALOGUE = [
    `SELECT relname, relkind, relpersistence, reloptions FROM pg_class WHERE ${MINE} ORDER BY 1`,
    `SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
       a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid)
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE ${MINE} AND a.attnum > 0 ORDER BY 1, 2`,
    `SELECT c.relname, o.conname, pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE ${MINE} ORDER BY 1, 2`,
    `SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`,
    `SELECT sequencename, data_type, start_value, min_value, max_value, increment_by, cycle FROM pg_sequences ORDER BY 1`,
    `SELECT d.refobjid::regclass, d.refobjsubid, d.objid::regclass, d.deptype FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
     WHERE ${MINE} AND c.relkind = 'S' AND d.refclassid = 'pg_class'::regclass ORDER BY 1, 2`,
    `SELECT objoid::regclass, objsubid, description FROM pg_description WHERE objoid IN (SELECT oid FROM pg_class WHERE ${MINE}) ORDER BY 1, 2`,
    `SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'`,
    `SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table`,
  ];
});

describeWith("mariadb", "the catalogue of MariaDB", () => {
  const scratch = new Scratch("mariadb");
  const copy = new Scratch("mariadb");

  beforeAll(() =>
    scratch.sql(`
      CREATE TABLE \`odd \`\`name\` (
        id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
        price decimal(10,2) NOT NULL DEFAULT 1.50 COMMENT 'in euros',
        text varchar(20) DEFAULT 'it''s',
        none int
      );
      CREATE VIEW seen AS SELECT id FROM \`odd \`\`name\`;
      CREATE TABLE many (n int PRIMARY KEY) AS SELECT seq AS n FROM seq_1_to_1000;
      ANALYZE TABLE many;
    `),
  );

  test("names tables and views, and tells columns and statements", async () => {
    await withDatabase(scratch.dsn, async (database) => {
      expect(database.dialect).toBe("mariadb");
      expect(await database.tables()).toEqual(["many", "odd `name", "seen"]);
      expect(await database.columns("odd `name")).toEqual([
        { name: "id", type: "bigint(20) unsigned", nullable: false, key: "PRI" },
        { name: "price", type: "decimal(10,2)", nullable: false, default: "1.50", key: "", comment: "in euros" },
        { name: "text", type: "varchar(20)", nullable: true, default: "'it''s'", key: "" },
        { name: "none", type: "int(11)", nullable: true, key: "" },
      ]);
      await expect(database.createStatement("none")).rejects.toMatchObject({ type: "NOT_FOUND" });
      const statement = await database.createStatement("odd `name");
      await copy.sql(statement);
      await withDatabase(copy.dsn, async (other) => expect(await other.createStatement("odd `name")).toBe(statement));
    });
  });

  test("expects rows, and refuses what it would not run", async () => {
    await withDatabase(scratch.dsn, async (database) => {
      expect(await database.estimate({ table: "many" })).toBe(1000);
      expect(await database.estimate({ statement: "SELECT 1" })).toBe(1);
      expect(await database.estimate({ statement: "SELECT n FROM many UNION ALL SELECT n FROM many" })).toBe(2000);
      await expect(database.estimate({ statement: "SELECT nothing" })).rejects.toMatchObject({
        type: "FAILED_PRECONDITION",
      });
    });
  });
});

describeWith("mongodb", "the catalogue of MongoDB", () => {
  const scratch = new Scratch("mongodb");

  test("names collections, and tells their keys, validators and indexes", async () => {
    const validator = { $jsonSchema: { bsonType: "object", required: ["n"] } };
    await withMongo(scratch.dsn, async (client) => {
      const collection = await client
        .db(scratch.name)
        .createCollection<{ _id: number; n: unknown; a?: unknown }>("orders", { validator });
      await collection.createIndex({ n: -1 }, { unique: true });
      await collection.insertMany([
        { _id: 1, n: 1 },
        { _id: 2, n: "two", a: null },
      ]);
    });
    await withDatabase(scratch.dsn, async (database) => {
      expect(await database.tables()).toEqual(["orders"]);
      expect(await database.columns("orders")).toEqual([
        { name: "_id", type: "int", nullable: false, key: "PRI" },
        { name: "n", type: "int | string", nullable: false, key: "" },
        { name: "a", type: "null", nullable: true, key: "" },
      ]);
      expect(BSON.EJSON.parse(await database.createStatement("orders"))).toMatchObject({
        create: "orders",
        validator,
        indexes: [{ key: { _id: 1 } }, { key: { n: -1 }, unique: true }],
      });
      expect(await database.estimate({ table: "orders" })).toBe(2);
      await expect(database.columns("none")).rejects.toMatchObject({ type: "NOT_FOUND" });
    });
  });
});

describe("the catalogue of SQLite", () => {
  test("names tables and views, and tells columns and statements", async () => {
    await withTempDir(async (directory) => {
      const path = join(directory, "catalogue.db");
      const made = new DatabaseSync(path);
      made.exec(`CREATE TABLE "a b" (id INTEGER PRIMARY KEY AUTOINCREMENT, price DECIMAL(10,2) NOT NULL DEFAULT 1.5);
        CREATE INDEX by_price ON "a b" (price); CREATE VIEW seen AS SELECT id FROM "a b"`);
      made.close();
      await withDatabase(`sqlite:${path}`, async (database) => {
        expect(await database.tables()).toEqual(["a b", "seen"]);
        expect(await database.columns("a b")).toEqual([
          { name: "id", type: "INTEGER", nullable: true, key: "PRI" },
          { name: "price", type: "DECIMAL(10,2)", nullable: false, default: "1.5", key: "" },
        ]);
        const copy = new DatabaseSync(":memory:");
        copy.exec(await database.createStatement("a b"));
        expect(copy.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE tbl_name = 'a b'").get()).toEqual({ n: 2 });
        expect(await database.estimate({ table: "a b" })).toBeUndefined();
        await expect(database.estimate({ statement: "SELECT nothing" })).rejects.toMatchObject({
          type: "FAILED_PRECONDITION",
        });
        await expect(database.columns("none")).rejects.toMatchObject({ type: "NOT_FOUND" });
      });
    });
  });
});

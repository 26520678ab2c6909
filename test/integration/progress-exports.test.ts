/** Exports of real databases, read by readers that share nothing with our writers. */
import { createHmac } from "node:crypto";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "@jest/globals";
import type { DatabaseServerName } from "../databases.ts";
import { Scratch, withMongo } from "../databases.ts";
import { accessTo, CSV, exportOf, withWorkshop, XLSX } from "../data-works.ts";
import { describeWith } from "../servers.ts";
import { hasOpenpyxl, readCsv, readProperties, readWorkbook, unpack } from "../table-files.ts";
import { withTempDir } from "../temp-dir.ts";

const PEOPLE = [
  { id: 1, name: "李雷", phone: "13800138000", note: 'a "quote", a comma\nand a line' },
  { id: 2, name: "韩梅梅", phone: "13900139000", note: null },
  { id: 3, name: "O'Brien", phone: null, note: "=1+1" },
];
const HEADER = ["id", "name", "phone", "note"];

/** As they are in a CSV, where a formula is guarded. */
const TEXTS = PEOPLE.map((row) =>
  Object.values(row).map((cell) => (cell === "=1+1" ? "'=1+1" : cell === null ? "" : String(cell))),
);

function quoted(cell: string | number | null): string {
  return typeof cell === "string" ? `'${cell.replaceAll("'", "''")}'` : String(cell);
}

const CREATE_SQL = [
  "CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, phone VARCHAR(20), note VARCHAR(200))",
  `INSERT INTO people VALUES ${PEOPLE.map((row) => `(${Object.values(row).map(quoted).join(", ")})`).join(", ")}`,
  "CREATE TABLE items (sku VARCHAR(10) PRIMARY KEY, price DECIMAL(10, 2))",
  "INSERT INTO items VALUES ('a-1', 12.50), ('b-2', 0.05)",
];

const STATEMENT = "SELECT id, name, phone, note FROM people ORDER BY id";

async function fill(server: DatabaseServerName, scratch: Scratch): Promise<void> {
  if (server === "mariadb") await scratch.sql(`ALTER DATABASE ${scratch.name} CHARACTER SET utf8mb4`);
  if (server !== "mongodb") return void (await scratch.sql(CREATE_SQL.join("; ")));
  await withMongo(scratch.dsn, async (client) => {
    const database = client.db(scratch.name);
    await database
      .collection<{ _id: number }>("people")
      .insertMany(PEOPLE.map(({ id, ...row }) => ({ _id: id, ...row })));
    await database.collection<{ _id: string; price: number }>("items").insertMany([
      { _id: "a-1", price: 12.5 },
      { _id: "b-2", price: 0.05 },
    ]);
  });
}

describe.each(["mariadb", "postgres", "mongodb"] as const)("an export of %s", (server) => {
  describeWith(server, "reads what is there", () => {
    const scratch = new Scratch(server);
    beforeAll(() => fill(server, scratch));

    const isMongo = server === "mongodb";
    const key = isMongo ? "_id" : "id";
    const header = [key, ...HEADER.slice(1)];
    const statement = isMongo
      ? JSON.stringify({ aggregate: "people", pipeline: [{ $project: { name: 1, phone: 1, note: 1 } }] })
      : STATEMENT;

    test("by statement, into a CSV", () =>
      withWorkshop(async (workshop) => {
        const work = exportOf(scratch.dsn, { statement });
        expect((await workshop.check(work)).rows).toEqual(
          server === "mariadb" ? expect.any(Number) : expect.anything(),
        );
        const result = await workshop.run(work);
        expect(result).toMatchObject({ file: "results/a.csv", name: "报表.csv", rows: 3, unmappable: 0 });
        expect(await readCsv(workshop.pathOf(result), "utf-8")).toEqual([header, ...TEXTS]);
        expect(await workshop.left()).toEqual([workshop.pathOf(result)]);
      }));

    (hasOpenpyxl ? test : test.skip)("by statement, into a workbook that tells who had it made", () =>
      withWorkshop(async (workshop) => {
        const format = { ...XLSX, author: "li", watermark: "li, 2026-11-27" };
        const result = await workshop.run(exportOf(scratch.dsn, { statement }, format));
        expect(result).toMatchObject({ file: "results/a.xlsx", name: "报表.xlsx", rows: 3 });
        const [sheet] = await readWorkbook(workshop.pathOf(result));
        expect(sheet!.rows).toEqual([header, ...PEOPLE.map((row) => Object.values(row))]);
        expect(await readProperties(workshop.pathOf(result))).toMatchObject({
          creator: "li",
          description: "li, 2026-11-27",
        });
      }),
    );

    test("all tables, each a file", () =>
      withWorkshop(async (workshop, directory) => {
        const result = await workshop.run(exportOf(scratch.dsn, { tables: "all", content: "DATA" }));
        expect(result).toMatchObject({ file: "results/a.zip", name: "报表.zip", rows: 5 });
        const files = await unpack(workshop.pathOf(result));
        expect(files.map(({ name }) => name)).toEqual(["items.csv", "people.csv"]);
        await writeFile(join(directory, "people.csv"), files[1]!.content);
        const [first, ...rows] = await readCsv(join(directory, "people.csv"), "utf-8");
        expect(first).toEqual(header);
        expect(rows.toSorted()).toEqual(TEXTS);
      }));

    test("some columns and rows of one table", () =>
      withWorkshop(async (workshop) => {
        const filter = isMongo ? JSON.stringify({ _id: { $gt: 1 } }) : "id > 1 -- not the first";
        const tables = [{ table: "people", columns: ["phone", key], filter }];
        const work = exportOf(scratch.dsn, { tables, content: "DATA" });
        expect(typeof (await workshop.check(work)).rows).toBe("number");
        const result = await workshop.run(work);
        const [first, ...rows] = await readCsv(workshop.pathOf(result), "utf-8");
        expect(first).toEqual(["phone", key]);
        expect(rows.toSorted()).toEqual([
          ["", "3"],
          ["13900139000", "2"],
        ]);
      }));

    test("the structure, with the rows and without", () =>
      withWorkshop(async (workshop) => {
        const tables = [{ table: "people" }, { table: "items" }];
        const all = await unpack(
          workshop.pathOf(await workshop.run(exportOf(scratch.dsn, { tables, content: "ALL" }))),
        );
        const ddl = isMongo ? "json" : "sql";
        expect(all.map(({ name }) => name)).toEqual(
          ["people", "items"].flatMap((table) => [`${table}.${ddl}`, `${table}.columns.csv`, `${table}.csv`]),
        );
        const content = (name: string) => all.find((file) => file.name === name)!.content.toString();
        expect(content(`people.${ddl}`)).toMatch(isMongo ? '"create": "people"' : /CREATE TABLE .*people/);
        expect(content("people.columns.csv")).toMatch(
          new RegExp(`^name,type,nullable,default,key,comment\r\n${key},\\w+.*,false,,PRI,`),
        );
        const struct = await workshop.run(exportOf(scratch.dsn, { tables, content: "STRUCT" }));
        expect(struct.rows).toBe(0);
        expect((await unpack(workshop.pathOf(struct))).map(({ name }) => name)).toEqual(
          ["people", "items"].flatMap((table) => [`${table}.${ddl}`, `${table}.columns.csv`]),
        );
      }));

    test("masked, where rules say so", () =>
      withWorkshop(async (workshop) => {
        const masks = [
          { column: "PHO*", action: "mask" as const },
          { column: isMongo ? "name" : "*am*", action: "hash" as const },
        ];
        const result = await workshop.run(exportOf(scratch.dsn, { statement }, CSV, { masks, maskKey: "a key" }));
        const hash = (text: string) => createHmac("sha256", "a key").update(text).digest("hex").slice(0, 16);
        const [, ...rows] = await readCsv(workshop.pathOf(result), "utf-8");
        expect(rows.map((row) => row.slice(1, 3))).toEqual([
          [hash("李雷"), "1***0"],
          [hash("韩梅梅"), "1***0"],
          [hash("O'Brien"), ""],
        ]);
      }));

    test("and what is not there, or may not be read, is said by name", () =>
      withWorkshop(async (workshop) => {
        const check = (what: Parameters<typeof exportOf>[1], rule?: string) =>
          workshop.check(exportOf(scratch.dsn, what, CSV, { masks: rule ? [{ column: rule, action: "refuse" }] : [] }));
        const table = (name: string, columns?: string[]) => ({
          tables: [{ table: name, ...(columns ? { columns } : {}) }],
          content: "DATA" as const,
        });
        await expect(check(table("nowhere"))).rejects.toMatchObject({
          type: "NOT_FOUND",
          message: expect.stringContaining('"nowhere"'),
        });
        await expect(check(table("people", ["name", "colour"]))).rejects.toMatchObject({
          type: "FAILED_PRECONDITION",
          message: 'the table "people" has no column "colour"',
        });
        const refused = { type: "FAILED_PRECONDITION", message: expect.stringContaining('the column "phone"') };
        await expect(check(table("people"), "people.phone")).rejects.toMatchObject(refused);
        await expect(check({ statement }, "*phone*")).rejects.toMatchObject(refused);
        await check(table("people"), "items.phone");
        await check(table("people", ["name"]), "phone");
        const running = workshop.run(
          exportOf(scratch.dsn, { statement }, CSV, { masks: [{ column: "phone", action: "refuse" }] }),
        );
        await expect(running).rejects.toMatchObject(refused);
        expect(await workshop.left()).toEqual([]);
      }));
  });
});

describeWith("postgres", "the files of an export", () => {
  const scratch = new Scratch("postgres");
  beforeAll(() => fill("postgres", scratch));

  test("have names that no system takes for the same", () =>
    withWorkshop(async (workshop) => {
      const names = ["odd/one", "odd:one", "ODD?ONE", "odd_one.columns"];
      await scratch.sql(names.map((name) => `CREATE TABLE "${name}" (a int)`).join("; "));
      const tables = names.map((table) => ({ table }));
      const result = await workshop.run(exportOf(scratch.dsn, { tables, content: "ALL" }));
      const found = (await unpack(workshop.pathOf(result))).map(({ name }) => name);
      expect(found).toHaveLength(12);
      expect(new Set(found.map((name) => name.toLowerCase())).size).toBe(12);
      expect(found.filter((name) => name.includes("/"))).toEqual([]);
    }));

  test("count the characters that GBK lacks", () =>
    withWorkshop(async (workshop) => {
      const format = { ...CSV, extType: "CSV_GBK" as const };
      const result = await workshop.run(exportOf(scratch.dsn, { statement: "SELECT '李😀雷ᠠ' AS name" }, format));
      expect(result.unmappable).toBe(2);
      expect(await readCsv(workshop.pathOf(result), "gbk")).toEqual([["name"], ["李?雷?"]]);
    }));

  test("tell their watermark", () =>
    withWorkshop(async (workshop) => {
      const format = { ...CSV, watermark: 'li, "today"' };
      const alone = await workshop.run(exportOf(scratch.dsn, { statement: "SELECT 1 AS a, 2 AS b" }, format));
      expect(alone.rows).toBe(1);
      expect(await readFile(workshop.pathOf(alone), "utf8")).toBe('a,b\r\n1,2\r\n"# li, ""today""",\r\n');
      const tables = [{ table: "people" }, { table: "items" }];
      const zip = await workshop.run(exportOf(scratch.dsn, { tables, content: "DATA" }, format));
      const [first, , items] = await unpack(workshop.pathOf(zip));
      expect([first!.name, first!.content.toString()]).toEqual(["watermark.txt", 'li, "today"\n']);
      expect(items!.content.toString()).not.toContain("today");
    }));

  (hasOpenpyxl ? test : test.skip)("are workbooks in a zip, where workbooks are asked for", () =>
    withWorkshop(async (workshop, directory) => {
      const result = await workshop.run(exportOf(scratch.dsn, { tables: [{ table: "items" }], content: "ALL" }, XLSX));
      const files = await unpack(workshop.pathOf(result));
      expect(files.map(({ name }) => name)).toEqual(["items.sql", "items.columns.xlsx", "items.xlsx"]);
      const rowsOf = async (index: number) => {
        await writeFile(join(directory, "a.xlsx"), files[index]!.content);
        return (await readWorkbook(join(directory, "a.xlsx")))[0]!.rows;
      };
      expect((await rowsOf(1))[2]!.slice(0, 3)).toEqual(["price", "numeric(10,2)", true]);
      expect((await rowsOf(2)).toSorted()).toEqual([
        ["a-1", 12.5],
        ["b-2", 0.05],
        ["sku", "price"],
      ]);
    }),
  );
});

describe("an export of SQLite", () => {
  const withFile = (body: (path: string, directory: string) => Promise<void>) =>
    withTempDir(async (directory) => {
      await mkdir(join(directory, "open"));
      const path = join(directory, "open", "a.db");
      const database = new DatabaseSync(path);
      for (const statement of CREATE_SQL) database.exec(statement);
      database.close();
      await body(path, directory);
    });

  test("reads a statement and all tables", () =>
    withFile((path) =>
      withWorkshop(async (workshop) => {
        const result = await workshop.run(exportOf(`sqlite:${path}`, { statement: STATEMENT }));
        expect(await readCsv(workshop.pathOf(result), "utf-8")).toEqual([HEADER, ...TEXTS]);
        const all = exportOf(`sqlite:${path}`, { tables: "all", content: "ALL" });
        expect(await workshop.check(all)).toEqual({});
        const files = await unpack(workshop.pathOf(await workshop.run(all)));
        expect(files.map(({ name }) => name)).toEqual(
          ["items", "people"].flatMap((table) => [`${table}.sql`, `${table}.columns.csv`, `${table}.csv`]),
        );
      }),
    ));

  test("stays within the directories that are open to it, through links too", () =>
    withFile((path, directory) =>
      withWorkshop(async (workshop) => {
        await mkdir(join(directory, "other"));
        await mkdir(join(directory, "open-not"));
        await symlink(path, join(directory, "other", "inward.db"));
        await symlink("/etc/passwd", join(directory, "open", "outward.db"));
        const at = (name: string, sqliteDirs = [join(directory, "open")]) =>
          workshop.check(
            exportOf(accessTo(`sqlite:${join(directory, name)}`, { sqliteDirs }), { statement: STATEMENT }),
          );
        await at("open/a.db");
        await at("other/inward.db");
        const denied = { type: "PERMISSION_DENIED", message: expect.stringContaining("is no file of the directories") };
        await expect(at("open/outward.db")).rejects.toMatchObject(denied);
        await expect(at("open/../other/a.db")).rejects.toMatchObject(denied);
        await expect(at("open/nowhere.db")).rejects.toMatchObject(denied);
        await expect(at("open/a.db", [join(directory, "open-not")])).rejects.toMatchObject(denied);
        await expect(at("open/a.db", [])).rejects.toMatchObject(denied);
      }),
    ));
});

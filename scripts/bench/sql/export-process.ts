/** One table to one file: by ours, or by mysql2 and exceljs. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import ExcelJS from "exceljs";
import { createConnection } from "mysql2";
import type { ExtType } from "../../../lib/tabular/ext-type.ts";
import { asChild, sampleOf } from "../export/child.ts";
import { exportRows } from "./export-rows.ts";
import type { ExportTask } from "./exports.ts";

async function ours({ dsn, table, rows, path }: ExportTask, extType: ExtType): Promise<void> {
  const written = await exportRows(dsn, { table }, extType, createWriteStream(path));
  if (written !== rows) throw new Error(`${written} rows of ${rows} were written`);
}

async function exceljs({ dsn, table, path }: ExportTask): Promise<void> {
  const connection = createConnection({ uri: dsn, rowsAsArray: true });
  const book = new ExcelJS.stream.xlsx.WorkbookWriter({ filename: path, useSharedStrings: false, useStyles: true });
  const sheet = book.addWorksheet("Sheet1");
  for await (const row of connection.query(`SELECT * FROM ${table}`).stream()) sheet.addRow(row).commit();
  sheet.commit();
  await book.commit();
  connection.end();
  await once(connection, "end");
}

await asChild<ExportTask>((task) =>
  sampleOf(() => (task.writer === "exceljs" ? exceljs(task) : ours(task, task.writer))),
);

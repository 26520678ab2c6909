/** One table by one of the writers that run in Node, to a file. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { stringify } from "csv-stringify";
import ExcelJS from "exceljs";
import type { ExtType } from "../../../lib/tabular/ext-type.ts";
import { RowCursor } from "../../../lib/tabular/row-cursor.ts";
import type { Row } from "../../../lib/tabular/table.ts";
import { writeTable } from "../../../lib/tabular/write-table.ts";
import { asChild, sampleOf } from "./child.ts";
import { COLUMNS, keptBatches } from "./rows.ts";
import type { NodeWriter, WriterTask } from "./writers.ts";

type Write = (path: string, batches: Iterable<readonly Row[]>) => Promise<void>;

const WRITERS: Record<NodeWriter, Write> = {
  "XLSX level 1": (path, batches) => ours(path, batches, "XLSX", 1),
  "XLSX level 6": (path, batches) => ours(path, batches, "XLSX", 6),
  exceljs,
  CSV: (path, batches) => ours(path, batches, "CSV", 1),
  "csv-stringify": csvStringify,
};

async function ours(path: string, batches: Iterable<readonly Row[]>, extType: ExtType, level: number): Promise<void> {
  const options = { title: "bench", createdAt: new Date(), formulaGuard: true, longText: "fail" } as const;
  const losses = { unmappable: 0, truncated: 0 };
  const cursor = new RowCursor(inTurn(batches));
  const bytes = writeTable(COLUMNS, cursor, Infinity, { ...options, extType, level }, losses);
  await pipeline(bytes, createWriteStream(path));
}

async function* inTurn(batches: Iterable<readonly Row[]>): AsyncGenerator<readonly Row[]> {
  yield* batches;
}

async function exceljs(path: string, batches: Iterable<readonly Row[]>): Promise<void> {
  const book = new ExcelJS.stream.xlsx.WorkbookWriter({ filename: path, useSharedStrings: false, useStyles: true });
  const sheet = book.addWorksheet("Sheet1");
  sheet.addRow(COLUMNS.map((column) => column.title)).commit();
  for (const rows of batches) for (const row of rows) sheet.addRow(row).commit();
  sheet.commit();
  await book.commit();
}

async function csvStringify(path: string, batches: Iterable<readonly Row[]>): Promise<void> {
  // The same work as ours: formulas are neutralised, lines end as RFC 4180 has it.
  const options = { header: true, escape_formulas: true, record_delimiter: "windows" } as const;
  const csv = stringify({ ...options, columns: COLUMNS.map((column) => column.title) });
  const writing = pipeline(csv, createWriteStream(path));
  for (const rows of batches) {
    for (const row of rows) if (!csv.write(row)) await once(csv, "drain");
  }
  csv.end();
  await writing;
}

await asChild<WriterTask>(({ writer, rows, path }) => sampleOf(() => WRITERS[writer](path, keptBatches(rows))));

import type { Database, Selection, TableColumn } from "../../lib/databases/database.ts";
import { failedPrecondition } from "../../lib/errors.ts";
import type { JobOutcome } from "../../lib/job-thread/messages.ts";
import type { JobScope } from "../../lib/job-thread/serve.ts";
import { fileName } from "../../lib/tabular/file-name.ts";
import type { Column, Row } from "../../lib/tabular/table.ts";
import type { ZipEntry } from "../../lib/tabular/zip.ts";
import { writeZip } from "../../lib/tabular/zip.ts";
import { withDatabase } from "./database-access.ts";
import { maskColumns } from "./masks.ts";
import type { Tally } from "./tally.ts";
import { countRows, newTally } from "./tally.ts";
import type { DataExport, TableChoice, WorkPlace, WorkProgress, WorkResult } from "./work.ts";
import { DEFLATE_LEVEL, extensionOf, putWorkFile, tableFile, withWatermark } from "./work-file.ts";

/** What the columns of a table are told by. */
const COLUMN_SHEET: readonly Column[] = ["name", "type", "nullable", "default", "key", "comment"].map((name) => ({
  key: name,
  title: name,
}));

/** A statement, or the rows of one table that is named, are one file; anything else is a zip. */
export function exportData(
  work: DataExport,
  place: WorkPlace,
  scope: JobScope<WorkProgress>,
): Promise<JobOutcome<WorkResult>> {
  const { format, what } = work;
  return withDatabase(work.source, { signal: scope.signal, readOnly: true }, async (database) => {
    const files = new ExportFiles(work, database);
    const selection = singleSelection(what);
    const content = selection
      ? files.alone(selection)
      : files.zip(await chosenTables(database, what as TablesExport), (what as TablesExport).content);
    const extension = selection ? extensionOf(format) : "zip";
    return putWorkFile(content, { extension, title: format.title }, files.tally, place, scope);
  });
}

type TablesExport = Extract<DataExport["what"], { tables: unknown }>;

function singleSelection(what: DataExport["what"]): Selection | undefined {
  if ("statement" in what) return what;
  return what.tables !== "all" && what.tables.length === 1 && what.content === "DATA" ? what.tables[0] : undefined;
}

/** The tables that are meant. */
export async function chosenTables(database: Database, { tables }: TablesExport): Promise<readonly TableChoice[]> {
  if (tables !== "all") return tables;
  const all = await database.tables();
  if (all.length === 0) throw failedPrecondition("the database has no table that may be read");
  return all.map((table) => ({ table }));
}

/** The files of an export, each read from the database when it is written. */
class ExportFiles {
  readonly tally: Tally = newTally();
  readonly #work: DataExport;
  readonly #database: Database;

  constructor(work: DataExport, database: Database) {
    this.#work = work;
    this.#database = database;
  }

  /** The file of a selection, by itself. */
  alone(selection: Selection): AsyncIterable<Uint8Array> {
    return this.#rows(selection, (batches) => withWatermark(batches, this.#work.format));
  }

  zip(tables: readonly TableChoice[], content: TablesExport["content"]): AsyncIterable<Uint8Array> {
    // A workbook is a zip itself: deflating it again would gain nothing.
    const level = this.#work.format.extType === "XLSX" ? 0 : DEFLATE_LEVEL;
    return writeZip(this.#entries(tables, content), { level, modifiedAt: new Date() });
  }

  async *#entries(tables: readonly TableChoice[], content: TablesExport["content"]): AsyncGenerator<ZipEntry> {
    const { format } = this.#work;
    const name = uniqueNames();
    const extension = extensionOf(format);
    if (format.watermark !== undefined && format.extType !== "XLSX")
      yield { name: name("watermark", "txt"), content: Buffer.from(`${format.watermark}\n`) };
    for (const choice of tables) {
      const { table } = choice;
      if (content !== "DATA") {
        const statement = Buffer.from(`${await this.#database.createStatement(table)}\n`);
        const columns = await this.#database.columns(table);
        yield { name: name(table, this.#database.dialect === "mongodb" ? "json" : "sql"), content: statement };
        yield { name: name(table, `columns.${extension}`), content: this.#columnSheet(table, columns) };
      }
      if (content !== "STRUCT") {
        yield { name: name(table, extension), content: this.#rows(choice, (batches) => batches) };
      }
    }
  }

  async *#rows(
    selection: Selection,
    finish: (batches: AsyncIterable<readonly Row[]>) => AsyncIterable<readonly Row[]>,
  ): AsyncGenerator<Uint8Array> {
    const { masks, maskKey, format } = this.#work;
    const source = await this.#database.rows(selection);
    try {
      const table = "table" in selection ? selection.table : undefined;
      const masking = maskColumns(source.columns, masks, { key: maskKey, table });
      const batches = finish(maskRows(countRows(source.batches, this.tally), masking.rows));
      const title = table ?? format.title;
      yield* tableFile(masking.columns, batches, { ...format, title }, this.tally);
    } finally {
      await source.close();
    }
  }

  #columnSheet(table: string, columns: readonly TableColumn[]): AsyncIterable<Uint8Array> {
    const { format } = this.#work;
    return tableFile(COLUMN_SHEET, sheetRows(columns), { ...format, title: table }, this.tally);
  }
}

async function* maskRows(
  batches: AsyncIterable<readonly Row[]>,
  mask: (batch: readonly Row[]) => readonly Row[],
): AsyncGenerator<readonly Row[]> {
  for await (const batch of batches) yield mask(batch);
}

async function* sheetRows(columns: readonly TableColumn[]): AsyncGenerator<readonly Row[]> {
  yield columns.map((column) => [
    column.name,
    column.type,
    column.nullable,
    column.default,
    column.key,
    column.comment,
  ]);
}

/** Names of files that no system takes for the same. */
function uniqueNames(): (title: string, extension: string) => string {
  const taken = new Set<string>();
  return (title, extension) => {
    let name = fileName(title, extension);
    for (let number = 2; taken.has(name.toLowerCase()); number += 1) name = fileName(title, extension, number);
    taken.add(name.toLowerCase());
    return name;
  };
}

import type { Database } from "../../lib/databases/database.ts";
import type { JobOutcome } from "../../lib/job-thread/messages.ts";
import type { JobScope } from "../../lib/job-thread/serve.ts";
import type { FileBatch } from "../../lib/sources/file-rows.ts";
import { openGenerator } from "../../lib/sources/generate.ts";
import type { RowSource } from "../../lib/sources/row-source.ts";
import { mapColumns } from "./column-mapping.ts";
import { withDatabase } from "./database-access.ts";
import { loadRows } from "./load.ts";
import { RefusedReport } from "./refused-report.ts";
import { countRows, newTally, telling } from "./tally.ts";
import type { DataGenerate, WorkPlace, WorkProgress, WorkResult } from "./work.ts";
import { extensionOf, putWorkFile, tableFile, withWatermark } from "./work-file.ts";

const BATCH_ROWS = 1_000;
/** So many made-up rows may miss what the table demands. */
const MAX_REFUSED = 10_000;

/** Makes rows up, for a file or for a table. */
export async function generateData(
  { spec, into }: DataGenerate,
  place: WorkPlace,
  scope: JobScope<WorkProgress>,
): Promise<JobOutcome<WorkResult>> {
  const { signal } = scope;
  const source = await openGenerator(spec, { signal });
  const tally = { ...newTally(), totalRows: spec.rows };
  const batches = countRows(source.batches, tally);
  if ("format" in into) {
    const { format } = into;
    const content = tableFile(source.columns, withWatermark(batches, format), format, tally);
    return putWorkFile(content, { extension: extensionOf(format), title: format.title }, tally, place, scope);
  }
  return withDatabase(into.target, { signal, readOnly: false }, async (database) => {
    const { columns, rowOf } = await generatedMapping(database, source.columns, into.table);
    const titles = source.columns.map(({ title }) => title);
    const key = `${place.object}.refused.csv`;
    const report = new RefusedReport(scope.store, { key, titles, maxRows: MAX_REFUSED, signal });
    const writing = { table: into.table, columns, onConflict: "fail" as const, dryRun: false };
    const load = { rowOf, writing, batchRows: BATCH_ROWS, maxRefused: MAX_REFUSED, report, signal };
    const { result, written } = await telling(
      () => ({ rows: tally.rows, totalRows: spec.rows, bytes: 0 }),
      scope.onProgress,
      () => loadRows(database, { ...load, batches: numbered(batches) }),
    );
    return { result: { ...result, bytes: 0 }, written };
  });
}

export function generatedMapping(database: Database, columns: RowSource["columns"], table: string) {
  return mapColumns(database, columns, { table, mapping: {}, texts: false });
}

/** From 1: there is no header. */
async function* numbered(batches: RowSource["batches"]): AsyncGenerator<FileBatch> {
  let count = 0;
  for await (const rows of batches) {
    const first = count + 1;
    count += rows.length;
    yield { rows, numbers: rows.map((_, index) => first + index), refused: [] };
  }
}

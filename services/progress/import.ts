import type { JobOutcome } from "../../lib/job-thread/messages.ts";
import type { JobScope } from "../../lib/job-thread/serve.ts";
import { mapColumns } from "./column-mapping.ts";
import { withDatabase } from "./database-access.ts";
import { loadRows } from "./load.ts";
import { RefusedReport } from "./refused-report.ts";
import { telling } from "./tally.ts";
import { withUpload } from "./upload-rows.ts";
import type { DataImport, WorkPlace, WorkProgress, WorkResult } from "./work.ts";

/** Writes an uploaded file into a table. Batches that are written stay, also where the import then fails. */
export function importData(
  work: DataImport,
  place: WorkPlace,
  { store, signal, onProgress }: JobScope<WorkProgress>,
): Promise<JobOutcome<WorkResult>> {
  const { table, onConflict, dryRun, batchRows, maxRefused } = work;
  return withDatabase(work.target, { signal, readOnly: false }, (database) =>
    withUpload(work, { store, tempDir: place.tempDir, signal }, async ({ rows, bytes }) => {
      const { columns, rowOf } = await mapColumns(database, rows.columns, mappingOf(work));
      const report = new RefusedReport(store, {
        key: `${place.object}.refused.csv`,
        titles: rows.columns.map(({ title }) => title),
        maxRows: maxRefused,
        signal,
      });
      const progress = (): WorkProgress => {
        const position = rows.position();
        return { rows: position.rows + position.refused, bytes: position.bytes, totalBytes: bytes };
      };
      const writing = { table, columns, onConflict, dryRun };
      const load = { batches: rows.batches, rowOf, writing, batchRows, maxRefused, report, signal };
      const { result, written } = await telling(progress, onProgress, () => loadRows(database, load));
      return { result: { ...result, bytes }, written };
    }),
  );
}

export function mappingOf({ table, mapping, fileType }: DataImport) {
  return { table, mapping, texts: fileType === "CSV" };
}

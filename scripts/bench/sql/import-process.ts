/** Writes rows of texts into a table, in batches, each committed. */
import { parseDsn } from "../../../lib/databases/dsn.ts";
import { openDatabase } from "../../../lib/databases/open.ts";
import type { Row } from "../../../lib/tabular/table.ts";
import { asChild, sampleOf } from "../export/child.ts";
import { COLUMNS, keptBatches } from "../export/rows.ts";
import { OPTIONS } from "./export-rows.ts";
import type { ImportTask } from "./imports.ts";

/** As a CSV holds them. */
function* texts(batches: Iterable<Row[]>): Generator<Row[]> {
  const made = new Map<Row[], Row[]>();
  for (const rows of batches) {
    const known = made.get(rows) ?? rows.map((row) => row.map((cell) => (cell === null ? null : String(cell))));
    made.set(rows, known);
    yield known;
  }
}

await asChild<ImportTask>(async ({ dsn, table, rows }) => {
  const batches = texts(keptBatches(rows));
  return sampleOf(async () => {
    const signal = new AbortController().signal;
    const database = await openDatabase(parseDsn(dsn), { ...OPTIONS, signal, readOnly: false });
    const columns = COLUMNS.map(({ key }) => key);
    const writer = await database.writer({ table, columns, onConflict: "fail", dryRun: false });
    let written = 0;
    for (const batch of batches) written += (await writer.write(batch)).written;
    if (written !== rows) throw new Error(`${written} rows of ${rows} were written`);
    await writer.close();
    await database.close();
  });
});

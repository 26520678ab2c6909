import type { Database } from "../../lib/databases/database.ts";
import { failedPrecondition } from "../../lib/errors.ts";
import type { JobScope } from "../../lib/job-thread/serve.ts";
import { openGenerator } from "../../lib/sources/generate.ts";
import { mapColumns } from "./column-mapping.ts";
import { withDatabase } from "./database-access.ts";
import { chosenTables } from "./export.ts";
import { generatedMapping } from "./generate.ts";
import { mappingOf } from "./import.ts";
import { maskColumns } from "./masks.ts";
import { withUpload } from "./upload-rows.ts";
import type { DataExport, DataGenerate, DataImport, DataWork, TableChoice, WorkEstimate, WorkPlace } from "./work.ts";

/** Throws what would keep the work from being done, as far as can be told before; writes nothing. */
export function checkData(work: DataWork, place: WorkPlace, scope: JobScope<never>): Promise<WorkEstimate> {
  switch (work.kind) {
    case "export":
      return checkExport(work, scope);
    case "import":
      return checkImport(work, place, scope);
    case "generate":
      return checkGenerate(work, scope);
  }
}

function checkExport(work: DataExport, { signal }: JobScope<never>): Promise<WorkEstimate> {
  const { what } = work;
  return withDatabase(work.source, { signal, readOnly: true }, async (database) => {
    if ("statement" in what) {
      const rows = await database.estimate(what);
      await checkStatementColumns(database, what, work);
      return { rows };
    }
    let rows: number | undefined = 0;
    for (const choice of await chosenTables(database, what)) {
      signal.throwIfAborted();
      const expected = await checkTable(database, choice, work, what.content);
      rows = rows === undefined || expected === undefined ? undefined : rows + expected;
    }
    return { rows };
  });
}

/** Its columns are known when it runs: it is begun, which a planner alone would not need, only where a rule may refuse one. */
async function checkStatementColumns(
  database: Database,
  selection: { statement: string },
  { masks, maskKey }: DataExport,
): Promise<void> {
  if (!masks.some(({ action }) => action === "refuse")) return;
  const source = await database.rows(selection);
  try {
    maskColumns(source.columns, masks, { key: maskKey });
  } finally {
    await source.close();
  }
}

async function checkTable(
  database: Database,
  choice: TableChoice,
  { masks, maskKey }: DataExport,
  content: "DATA" | "STRUCT" | "ALL",
): Promise<number | undefined> {
  const { table } = choice;
  const known = (await database.columns(table)).map(({ name }) => name);
  const unknown = choice.columns?.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw failedPrecondition(`the table ${JSON.stringify(table)} has no column ${JSON.stringify(unknown)}`);
  if (content === "STRUCT") return 0;
  const columns = (choice.columns ?? known).map((name) => ({ key: name, title: name }));
  maskColumns(columns, masks, { key: maskKey, table });
  return database.estimate(choice);
}

function checkImport(work: DataImport, { tempDir }: WorkPlace, { store, signal }: JobScope<never>) {
  return withDatabase(work.target, { signal, readOnly: true }, (database) =>
    withUpload(work, { store, tempDir, signal }, async ({ rows }) => {
      await mapColumns(database, rows.columns, mappingOf(work));
      return {};
    }),
  );
}

async function checkGenerate({ spec, into }: DataGenerate, { signal }: JobScope<never>): Promise<WorkEstimate> {
  if ("target" in into) {
    const { columns } = await openGenerator(spec, { signal });
    await withDatabase(into.target, { signal, readOnly: true }, (database) =>
      generatedMapping(database, columns, into.table),
    );
  }
  return { rows: spec.rows };
}

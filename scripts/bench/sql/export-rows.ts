/** The way of an export: from a database through the writers of tables to a stream. */
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Selection } from "../../../lib/databases/database.ts";
import { parseDsn } from "../../../lib/databases/dsn.ts";
import type { DatabaseOptions } from "../../../lib/databases/database.ts";
import { openDatabase } from "../../../lib/databases/open.ts";
import type { ExtType } from "../../../lib/tabular/ext-type.ts";
import { RowCursor } from "../../../lib/tabular/row-cursor.ts";
import { writeTable } from "../../../lib/tabular/write-table.ts";

export const OPTIONS: Omit<DatabaseOptions, "signal" | "readOnly"> = {
  connectTimeoutMs: 10_000,
  statementTimeoutMs: 600_000,
  idleTimeoutMs: 60_000,
  outbound: { allowPrivate: true },
};

export async function exportRows(dsn: string, selection: Selection, extType: ExtType, to: Writable): Promise<number> {
  const signal = new AbortController().signal;
  const database = await openDatabase(parseDsn(dsn), { ...OPTIONS, signal, readOnly: true });
  try {
    const source = await database.rows(selection);
    const cursor = new RowCursor(source.batches);
    const format = {
      extType,
      title: "bench",
      createdAt: new Date(),
      level: 1,
      formulaGuard: true,
      longText: "fail",
    } as const;
    await pipeline(writeTable(source.columns, cursor, Infinity, format, { unmappable: 0, truncated: 0 }), to);
    return cursor.rows;
  } finally {
    await database.close();
  }
}

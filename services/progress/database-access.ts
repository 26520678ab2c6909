import { realpath } from "node:fs/promises";
import { sep } from "node:path";
import type { Database } from "../../lib/databases/database.ts";
import type { DataSource } from "../../lib/databases/dsn.ts";
import { parseDsn } from "../../lib/databases/dsn.ts";
import { openDatabase } from "../../lib/databases/open.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { DatabaseAccess } from "./work.ts";

/** Runs `body` with a connection to a database. */
export async function withDatabase<T>(
  access: DatabaseAccess,
  options: { signal: AbortSignal; readOnly: boolean },
  body: (database: Database) => Promise<T>,
): Promise<T> {
  const { outbound, limits } = access;
  const database = await openDatabase(await sourceOf(access), { ...limits, outbound, ...options });
  try {
    return await body(database);
  } finally {
    await database.close();
  }
}

async function sourceOf({ dsn, database, sqliteDirs, sqliteExcept }: DatabaseAccess): Promise<DataSource> {
  const source = parseDsn(dsn);
  if (source.dialect !== "sqlite") return database === undefined ? source : { ...source, database };
  const real = await realpath(source.path).catch(() => undefined);
  const allowed = sqliteDirs === undefined || (real !== undefined && (await isWithin(real, sqliteDirs)));
  if (!allowed || (real !== undefined && (await isWithin(real, sqliteExcept)))) {
    // What is elsewhere, and whether anything is there, is not told.
    const problem = `${source.path} is no file of the directories whose databases may be used`;
    throw new LongshoreError("PERMISSION_DENIED", problem);
  }
  return { ...source, path: real ?? source.path };
}

async function isWithin(path: string, directories: readonly string[]): Promise<boolean> {
  for (const directory of directories) {
    const root = await realpath(directory).catch(() => undefined);
    if (root !== undefined && path.startsWith(root === sep ? root : root + sep)) return true;
  }
  return false;
}

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

async function sourceOf({ dsn, database, sqliteDirs }: DatabaseAccess): Promise<DataSource> {
  const source = parseDsn(dsn);
  if (source.dialect !== "sqlite") return database === undefined ? source : { ...source, database };
  return sqliteDirs === undefined ? source : { ...source, path: await allowedPath(source.path, sqliteDirs) };
}

/** Where a file really is; what is elsewhere, and whether anything is there, is not told. */
async function allowedPath(path: string, directories: readonly string[]): Promise<string> {
  const real = await realpath(path).catch(() => undefined);
  for (const directory of directories) {
    const root = await realpath(directory).catch(() => undefined);
    if (real !== undefined && root !== undefined && real.startsWith(root === sep ? root : root + sep)) return real;
  }
  throw new LongshoreError("PERMISSION_DENIED", `${path} is no file of the directories whose databases may be used`);
}

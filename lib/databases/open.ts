import { invalidArgument } from "../errors.ts";
import type { Database, DatabaseOptions } from "./database.ts";
import type { DataSource } from "./dsn.ts";

/** Connects to a database, and loads its driver only then; rejects as `Database` says, or where the policy forbids the host. */
export async function openDatabase(source: DataSource, options: DatabaseOptions): Promise<Database> {
  options.signal.throwIfAborted();
  if (source.dialect === "sqlite") {
    const { openSqlite } = await import("./sqlite/database.ts");
    return openSqlite(source, options);
  }
  if (source.database === undefined) throw invalidArgument("dsn", "names no database");
  const named = { ...source, database: source.database };
  switch (named.dialect) {
    case "mysql":
    case "mariadb": {
      const { openMysql } = await import("./mysql/database.ts");
      return openMysql(named, options);
    }
    case "postgresql": {
      const { openPostgres } = await import("./postgresql/database.ts");
      return openPostgres(named, options);
    }
    case "mongodb": {
      const { openMongodb } = await import("./mongodb/database.ts");
      return openMongodb(named, options);
    }
  }
}

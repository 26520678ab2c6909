import { invalidArgument } from "../errors.ts";
import type { OutboundPolicy } from "../sources/outbound.ts";
import type { Database } from "./database.ts";
import type { DataSource } from "./dsn.ts";

export interface DatabaseOptions {
  /** Ends everything, and kills on the server what still runs. */
  signal: AbortSignal;
  /** How long name resolution, connection, TLS and login may take together. */
  connectTimeoutMs: number;
  /** How long one statement may run, from its start to its last row. */
  statementTimeoutMs: number;
  /** How long a server that is waited for may send nothing: then the connection is taken for lost. */
  idleTimeoutMs: number;
  /** Judges the address that is connected to. */
  outbound: OutboundPolicy;
  /** Refuses writers, and has the database itself refuse writes. */
  readOnly: boolean;
}

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

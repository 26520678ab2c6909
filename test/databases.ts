import { randomBytes } from "node:crypto";
import { afterAll, beforeAll } from "@jest/globals";
import { MongoClient } from "mongodb";
import type { Database, Selection } from "../lib/databases/database.ts";
import { parseDsn } from "../lib/databases/dsn.ts";
import type { DatabaseOptions } from "../lib/databases/database.ts";
import { openDatabase } from "../lib/databases/open.ts";
import type { Column, Row } from "../lib/tabular/table.ts";
import { run } from "../scripts/servers/command.ts";
import type { ServerName } from "./servers.ts";
import { serverUrl } from "./servers.ts";

/** The servers whose databases these tests use. */
export type SqlServerName = Extract<ServerName, "mariadb" | "postgres">;
export type DatabaseServerName = SqlServerName | "mongodb";

const CLIENT_LIMIT_MS = 30_000;

/** A database of a test file's own on a server: made before its tests, dropped after them. */
export class Scratch {
  readonly name = `longshore_test_${randomBytes(6).toString("hex")}`;
  readonly #server: DatabaseServerName;

  constructor(server: DatabaseServerName) {
    this.#server = server;
    beforeAll(() => this.#create());
    afterAll(() => this.#drop());
  }

  get dsn(): string {
    const url = new URL(serverUrl(this.#server));
    url.pathname = `/${this.name}`;
    return url.href;
  }

  /** What the database's own client prints of a statement: a line a row, tabs between. */
  async sql(statement: string): Promise<string> {
    return sql(this.#server as SqlServerName, this.dsn, statement);
  }

  async #create(): Promise<void> {
    if (this.#server !== "mongodb") await sql(this.#server, serverUrl(this.#server), `CREATE DATABASE ${this.name}`);
  }

  async #drop(): Promise<void> {
    if (this.#server === "mongodb")
      return withMongo(this.dsn, async (client) => void (await client.db(this.name).dropDatabase()));
    const force = this.#server === "postgres" ? " WITH (FORCE)" : "";
    await sql(this.#server, serverUrl(this.#server), `DROP DATABASE ${this.name}${force}`);
  }
}

export async function withMongo<T>(uri: string, body: (client: MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(uri);
  try {
    return await body(client);
  } finally {
    await client.close();
  }
}

/** Runs a statement with `psql` or `mariadb`. */
export async function sql(server: SqlServerName, dsn: string, statement: string): Promise<string> {
  const options = { timeoutMs: CLIENT_LIMIT_MS, env: { PGTZ: "UTC" } };
  const printed =
    server === "postgres"
      ? await run(
          "psql",
          ["-X", "-A", "-t", "-q", "-F", "\t", "-P", "null=NULL", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", statement],
          options,
        )
      : await run(
          "mariadb",
          [...mariadbArgs(dsn), "--local-infile", "--batch", "--raw", "--skip-column-names", "-e", statement],
          options,
        );
  return printed.replace(/\n$/, "");
}

export function mariadbArgs(dsn: string): string[] {
  const { hostname, port, username, password, pathname } = new URL(dsn);
  const database = pathname === "/" ? [] : [pathname.slice(1)];
  return [
    ...["--no-defaults", "--default-character-set=utf8mb4", `--host=${hostname}`, `--port=${port}`],
    ...[`--user=${username}`, `--password=${password}`, ...database],
  ];
}

export const OPTIONS: Omit<DatabaseOptions, "signal"> = {
  connectTimeoutMs: 20_000,
  statementTimeoutMs: 60_000,
  idleTimeoutMs: 30_000,
  outbound: { allowPrivate: true },
  readOnly: true,
};

export async function withDatabase<T>(
  dsn: string,
  body: (database: Database) => Promise<T>,
  options: Partial<DatabaseOptions> = {},
): Promise<T> {
  const database = await openDatabase(parseDsn(dsn), { signal: new AbortController().signal, ...OPTIONS, ...options });
  try {
    return await body(database);
  } finally {
    await database.close();
  }
}

/** All rows of a selection. */
export async function readAll(
  database: Database,
  selection: Selection,
): Promise<{ columns: readonly Column[]; rows: Row[] }> {
  const source = await database.rows(selection);
  const rows: Row[] = [];
  for await (const batch of source.batches) rows.push(...batch);
  return { columns: source.columns, rows };
}

/** How many statements run in a database; with `sessions`, how many are connected to it. */
export async function running(server: DatabaseServerName, name: string, { sessions = false } = {}): Promise<number> {
  const url = serverUrl(server);
  switch (server) {
    case "mariadb": {
      const active = sessions ? "" : "AND COMMAND <> 'Sleep'";
      return Number(
        await sql(server, url, `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '${name}' ${active}`),
      );
    }
    case "postgres": {
      const active = sessions ? "" : "AND state = 'active'";
      return Number(
        await sql(server, url, `SELECT count(*) FROM pg_stat_activity WHERE datname = '${name}' ${active}`),
      );
    }
    case "mongodb":
      return withMongo(url, async (client) => {
        const stages = [
          { $currentOp: { allUsers: true, idleCursors: true } },
          { $match: { ns: { $regex: `^${name}\\.` } } },
        ];
        return (await client.db("admin").aggregate(stages).toArray()).length;
      });
  }
}

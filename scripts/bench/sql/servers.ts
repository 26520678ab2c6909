/** The servers of the bench, each with a table of ten columns such as exports hold: export/rows.ts has them too. */
import { run as runCommand } from "../../servers/command.ts";
import { startMariadb } from "../../servers/mariadb.ts";
import { startPostgres } from "../../servers/postgres.ts";
import type { Run } from "../../servers/run.ts";
import { MissingProgram } from "../queue/missing-program.ts";

const LIMIT_MS = 300_000;

export interface SqlServers {
  mariadb: string;
  postgres: string;
}

export type SqlServer = keyof SqlServers;

/** Columns of a row by its number `n`. */
const COLUMNS: Record<SqlServer, string> = {
  postgres: `(n % 20000)::int AS c0, '用户名称' || n % 9973 AS c1, 'user' || n % 20000 || '@example.com' AS c2,
    ((n % 20000) * 1.25)::numeric(12, 2) AS c3, n % 2 = 0 AS c4, timestamp '2026-11-10 10:00:00' + (n % 20) * interval '1 day' AS c5,
    'order-' || (n % 20000 * 7919) % 1000003 AS c6, (n % 7)::int AS c7, NULL::text AS c8, 'some text, with a comma ' || n % 100 AS c9`,
  mariadb: `CAST(n % 20000 AS SIGNED) AS c0, CONCAT('用户名称', n % 9973) AS c1, CONCAT('user', n % 20000, '@example.com') AS c2,
    CAST((n % 20000) * 1.25 AS DECIMAL(12, 2)) AS c3, n % 2 = 0 AS c4, CAST('2026-11-10 10:00:00' AS DATETIME) + INTERVAL n % 20 DAY AS c5,
    CONCAT('order-', (n % 20000 * 7919) % 1000003) AS c6, n % 7 AS c7, CAST(NULL AS CHAR(10)) AS c8,
    CONCAT('some text, with a comma ', n % 100) AS c9`,
};

/** A statement of so many such rows, which the server makes as they are read. */
export function madeRows(server: SqlServer, rows: number): string {
  const numbers =
    server === "postgres" ? `(SELECT generate_series(1, ${rows}) AS n) s` : `(SELECT seq AS n FROM seq_1_to_${rows}) s`;
  return `SELECT ${COLUMNS[server]} FROM ${numbers}`;
}

export async function startSqlServers(run: Run): Promise<SqlServers> {
  const [mariadb, postgres] = await Promise.all([startMariadb(run), startPostgres(run)]);
  if (!mariadb) throw new MissingProgram("there is no mariadbd here: install mariadb-server");
  if (!postgres) throw new MissingProgram("there is no postgres here: install postgresql");
  return { mariadb, postgres };
}

/** Makes a table of so many rows that lie on disk, or in the cache, as tables do. */
export async function makeTable(servers: SqlServers, server: SqlServer, name: string, rows: number): Promise<void> {
  const settle = server === "postgres" ? `VACUUM ANALYZE ${name}` : `ANALYZE TABLE ${name}`;
  const charset = server === "mariadb" ? "CHARACTER SET utf8mb4" : "";
  await sql(servers, server, `CREATE TABLE ${name} ${charset} AS ${madeRows(server, rows)}`);
  await sql(servers, server, settle);
}

/** Runs a statement with the server's own program and answers what it prints. */
export function sql(servers: SqlServers, server: SqlServer, statement: string): Promise<string> {
  const [program, ...args] = clientCommand(servers, server, statement);
  return runCommand(program, args, { timeoutMs: LIMIT_MS });
}

export function clientCommand(servers: SqlServers, server: SqlServer, statement: string): [string, ...string[]] {
  if (server === "postgres")
    return ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", servers.postgres, "-c", statement];
  const { hostname, port, username, password, pathname } = new URL(servers.mariadb);
  return [
    ...(["mariadb", "--no-defaults", "--default-character-set=utf8mb4", `--host=${hostname}`, `--port=${port}`] as [
      string,
      ...string[],
    ]),
    ...[`--user=${username}`, `--password=${password}`, pathname.slice(1), "--batch", "--quick", "-e", statement],
  ];
}

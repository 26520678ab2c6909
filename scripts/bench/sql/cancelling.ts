/** How long after it was cancelled a statement still runs on the server: the worst of some, waiting for a row and between rows. */
import { setTimeout as delay } from "node:timers/promises";
import { parseDsn } from "../../../lib/databases/dsn.ts";
import { openDatabase } from "../../../lib/databases/open.ts";
import type { Run } from "../../servers/run.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { OPTIONS } from "./export-rows.ts";
import type { SqlServer, SqlServers } from "./servers.ts";
import { madeRows, sql } from "./servers.ts";

const ROUNDS = 5;
const LIMIT_SECONDS = 10;

/** Each has this within it, by which it is found on the server. */
const MARK = "longshore_bench_cancelled";

const SLOW: Record<SqlServer, string> = {
  postgres: `SELECT pg_sleep(60) AS ${MARK}`,
  mariadb: `SELECT SLEEP(60) AS ${MARK}`,
};

export async function measureCancelling(_run: Run, servers: SqlServers): Promise<Figure[]> {
  const lines: string[][] = [];
  const figures: Figure[] = [];
  for (const server of ["postgres", "mariadb"] as const) {
    const statements = [SLOW[server], `SELECT * FROM (${madeRows(server, 100_000_000)}) ${MARK}`];
    let worst = 0;
    for (let round = 0; round < ROUNDS; round += 1)
      for (const statement of statements) worst = Math.max(worst, await secondsToEnd(servers, server, statement));
    lines.push([server, shown(worst)]);
    figures.push({
      measure: `seconds until a cancelled statement has ended, ${server}`,
      value: worst,
      gate: { atMost: 1 },
    });
  }
  printTable(`The worst of ${ROUNDS * 2} cancelled statements, seconds`, [["", "until its end"], ...lines]);
  return figures;
}

async function secondsToEnd(servers: SqlServers, server: SqlServer, statement: string): Promise<number> {
  const cancelling = new AbortController();
  const database = await openDatabase(parseDsn(servers[server]), {
    ...OPTIONS,
    signal: cancelling.signal,
    readOnly: true,
  });
  const reading = (async () => {
    const source = await database.rows({ statement });
    for await (const _batch of source.batches);
  })().catch(() => undefined);
  await until(async () => (await running(servers, server)) > 0);
  cancelling.abort();
  const began = performance.now();
  await until(async () => (await running(servers, server)) === 0);
  const seconds = (performance.now() - began) / 1_000;
  await reading;
  await database.close();
  return seconds;
}

async function running(servers: SqlServers, server: SqlServer): Promise<number> {
  const statement =
    server === "postgres"
      ? `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%${MARK}%' AND pid <> pg_backend_pid()`
      : `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%${MARK}%' AND ID <> CONNECTION_ID()`;
  return Number((await sql(servers, server, statement)).trim().split("\n").at(-1));
}

async function until(look: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_SECONDS * 1_000;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`not within ${LIMIT_SECONDS} s`);
    await delay(10);
  }
}

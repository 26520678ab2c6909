/** Rows into a table of PostgreSQL: the writer, fed with texts as files hold them, against `\copy` of a CSV of the same. */
import { join } from "node:path";
import type { Run } from "../../servers/run.ts";
import { inChild, type Sample } from "../export/child.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { seconds } from "./exports.ts";
import type { SqlServers } from "./servers.ts";
import { makeTable, sql } from "./servers.ts";

const ROWS = 1_000_000;
const ROUNDS = 3;

export interface ImportTask {
  dsn: string;
  table: string;
  rows: number;
}

export async function measureImports(run: Run, servers: SqlServers): Promise<Figure[]> {
  const path = join(run.directory, "imported");
  await makeTable(servers, "postgres", "import_source", ROWS);
  await sql(servers, "postgres", `\\copy import_source TO '${path}' (FORMAT csv)`);
  await sql(servers, "postgres", "CREATE TABLE imported (LIKE import_source)");
  const task: ImportTask = { dsn: servers.postgres, table: "imported", rows: ROWS };
  const pairs: { ours: number; peer: number }[] = [];
  // The first round is for the caches.
  for (let round = 0; round <= ROUNDS; round += 1) {
    await sql(servers, "postgres", "TRUNCATE imported");
    const ours = await inChild<Sample>("../sql/import-process.ts", task);
    await sql(servers, "postgres", "TRUNCATE imported");
    const peer = await seconds(() => sql(servers, "postgres", `\\copy imported FROM '${path}' (FORMAT csv)`));
    if (round === 0) continue;
    pairs.push({ ours: ours.seconds, peer: peer.seconds });
    console.error(`round ${round}, import: ${shown(ours.seconds)} s, \\copy ${shown(peer.seconds)} s`);
  }
  const middle = (who: "ours" | "peer") => shown(median(pairs.map((pair) => pair[who])));
  printTable(`${ROWS.toLocaleString("en")} rows into a table, seconds, medians of ${ROUNDS} rounds`, [
    ["", "ours", "peer"],
    ["PostgreSQL", middle("ours"), middle("peer")],
  ]);
  const value = median(pairs.map(({ ours, peer }) => peer / ours));
  return [{ measure: "writing into PostgreSQL / \\copy, speed", value, gate: { atLeast: 0.3 } }];
}

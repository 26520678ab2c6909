/**
 * What an export of a database takes of memory, and that it does not take more for more rows: the most that a process has had
 * which does nothing else, in a thread with the limits of a job's. A process for each, for the kernel counts since its start.
 */
import type { Run } from "../../servers/run.ts";
import { CACHE_ONLY, inChild } from "../export/child.ts";
import type { Peak } from "../export/memory.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import type { SqlServer, SqlServers } from "./servers.ts";
import { madeRows } from "./servers.ts";

const SIZES = [1_000_000, 5_000_000];
const MEGABYTE = 1_048_576;

export interface MemoryTask {
  dsn: string;
  statement: string;
  rows: number;
}

export async function measureMemory(_run: Run, servers: SqlServers): Promise<Figure[]> {
  const lines: string[][] = [];
  const figures: Figure[] = [];
  for (const server of ["postgres", "mariadb"] satisfies SqlServer[]) {
    const peaks: number[] = [];
    for (const rows of SIZES) {
      const task: MemoryTask = { dsn: servers[server], statement: madeRows(server, rows), rows };
      const { peakBytes } = await inChild<Peak>("../sql/memory-process.ts", task, CACHE_ONLY);
      peaks.push(peakBytes / MEGABYTE);
      console.error(`${server}, ${rows.toLocaleString("en")} rows: ${shown(peaks.at(-1)!)} MB`);
      figures.push({
        measure: `peak MB, ${server} to CSV, ${rows.toLocaleString("en")} rows`,
        value: peaks.at(-1)!,
        gate: { atMost: 200 },
      });
    }
    lines.push([server, ...peaks.map(shown)]);
  }
  printTable("Peak memory of an export to CSV in MB", [
    ["", ...SIZES.map((size) => `${size.toLocaleString("en")} rows`)],
    ...lines,
  ]);
  return figures;
}

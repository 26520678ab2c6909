/**
 * What an export takes of memory, and that it does not take more for more rows: the most that a process has had which writes a
 * workbook in a thread with the limits of a job's, and has nothing else of the program in it. Without gates beside it: the same
 * with all flags of `npm start`, of which V8 puts the size of the young generation above the thread's own limit; and a whole job,
 * from source to store. The rows are made as they are read, as a source makes them. A process for each, for the kernel counts the
 * most since its start; and the highest of some rounds, for when garbage is collected is a matter of luck.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { NODE_FLAGS } from "../../node-flags.ts";
import type { Run } from "../../servers/run.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { CACHE_ONLY, inChild } from "./child.ts";
import { PageServer, type JobTask } from "./pages.ts";

const FEW = 1_000_000;
const MANY = 4_000_000;
const SIZES = [FEW, MANY] as const;
const ROUNDS = 3;
const ROWS_PER_PAGE = 1_000;
const CONNECTIONS = 8;
const MEGABYTE = 1_048_576;

export type MemoryTask = { kind: "writer"; rows: number; path: string } | { kind: "job"; rows: number; job: JobTask };

export interface Peak {
  /** Before the work. */
  restBytes: number;
  peakBytes: number;
}

interface Contestant {
  name: string;
  flags: string[];
  taskOf(rows: number, directory: string): MemoryTask;
}

export async function measureMemory(run: Run): Promise<Figure[]> {
  const servers = await startServers(run);
  const alone = (rows: number, directory: string): MemoryTask => {
    return { kind: "writer", rows, path: join(directory, "table") };
  };
  const contestants: Contestant[] = [
    { name: "XLSX in a thread", flags: CACHE_ONLY, taskOf: alone },
    { name: "the same, flags of npm start", flags: NODE_FLAGS, taskOf: alone },
    {
      name: "whole job, XLSX in a zip",
      flags: CACHE_ONLY,
      taskOf: (rows, directory) => {
        const { url } = servers.get(rows)!;
        return { kind: "job", rows, job: { url, extType: "XLSX", connections: CONNECTIONS, directory } };
      },
    },
  ];
  const rows: string[][] = [];
  const figures: Figure[] = [];
  for (const contestant of contestants) {
    const peaks = await peaksOf(run, contestant);
    const [few, many] = SIZES.map((size) => highest(peaks, size)) as [number, number];
    const rest = Math.max(...peaks.map(({ restBytes }) => restBytes)) / MEGABYTE;
    rows.push([contestant.name, ...[rest, few, few - rest, many, many / few].map(shown)]);
    if (contestant !== contestants[0]) continue;
    figures.push(
      { measure: "peak MB, XLSX of 1,000,000 rows", value: few, gate: { atMost: 150 } },
      { measure: "peak of 4,000,000 rows / of 1,000,000", value: many / few, gate: { atMost: 1.1 } },
    );
  }
  for (const server of servers.values()) server.stop();
  printTable(`Peak memory in MB, the highest of ${ROUNDS} rounds`, [
    [
      "",
      "at rest",
      ...SIZES.flatMap((size) => [`${size.toLocaleString("en")} rows`, size === FEW ? "above rest" : "ratio"]),
    ],
    ...rows,
  ]);
  return figures;
}

async function startServers(run: Run): Promise<Map<number, PageServer>> {
  const started = SIZES.map(async (rows): Promise<[number, PageServer]> => {
    const pages = Math.ceil(rows / ROWS_PER_PAGE);
    return [rows, await PageServer.start(run, { pages, rowsPerPage: ROWS_PER_PAGE, delayMs: 0 })];
  });
  return new Map(await Promise.all(started));
}

type SizedPeak = Peak & { rows: number };

async function peaksOf(run: Run, contestant: Contestant): Promise<SizedPeak[]> {
  const peaks: SizedPeak[] = [];
  // The first round is for the cache of what Node compiles.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const rows of round === 0 ? [FEW] : SIZES) {
      const peak = await peakOf(run, contestant, rows);
      if (round === 0) continue;
      peaks.push({ ...peak, rows });
      const what = `${contestant.name}, ${rows.toLocaleString("en")} rows`;
      console.error(`round ${round}, ${what}: ${shown(peak.peakBytes / MEGABYTE)} MB`);
    }
  }
  return peaks;
}

async function peakOf(run: Run, { flags, taskOf }: Contestant, rows: number): Promise<Peak> {
  const directory = run.makeDirectory("memory");
  try {
    return await inChild<Peak>("memory-process.ts", taskOf(rows, directory), flags);
  } finally {
    await rm(directory, { recursive: true });
  }
}

function highest(peaks: SizedPeak[], rows: number): number {
  return Math.max(...peaks.filter((peak) => peak.rows === rows).map(({ peakBytes }) => peakBytes)) / MEGABYTE;
}

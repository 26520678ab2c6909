/**
 * How much of a slow source's speed an export keeps: its pages a second, from the call of the job to its file in a zip, against
 * those that the same connections bring in when their bodies are thrown away. At 20 ms a page no machine is busy, so what is
 * missing is time in which a connection had nothing to do.
 */
import { rm } from "node:fs/promises";
import { NODE_FLAGS } from "../../node-flags.ts";
import type { Run } from "../../servers/run.ts";
import { cpuMs } from "../queue/processes.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { inChild, type Sample } from "./child.ts";
import { PageServer, type JobTask } from "./pages.ts";

/** A million rows; what it takes to start a thread is in them. */
const PAGES = 10_000;
const ROWS_PER_PAGE = 100;
const LATENCY_MS = 20;
const CONNECTIONS = 32;
const ROUNDS = 3;
const READERS = ["bare", "export"] as const;

type Reader = (typeof READERS)[number];

export interface SourceTask {
  reader: Reader;
  job: JobTask;
  pages: number;
}

interface SourceSample extends Sample {
  serverCpuSeconds: number;
}

export async function measureSource(run: Run): Promise<Figure[]> {
  const server = await PageServer.start(run, { pages: PAGES, rowsPerPage: ROWS_PER_PAGE, delayMs: LATENCY_MS });
  const samples: Record<Reader, SourceSample[]> = { bare: [], export: [] };
  // The first round is for warming up: the server, and the cache of what Node compiles.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const reader of READERS) {
      const sample = await sampleOf(run, server, reader);
      if (round === 0) continue;
      samples[reader].push(sample);
      console.error(`round ${round}, ${reader}: ${shown(PAGES / sample.seconds)} pages/s`);
    }
  }
  server.stop();
  const row = (name: string, reader: Reader) => {
    const mean = (measure: (sample: SourceSample) => number) => shown(median(samples[reader].map(measure)));
    return [
      name,
      mean(({ seconds }) => PAGES / seconds),
      mean(({ seconds }) => seconds),
      mean(({ cpuSeconds }) => cpuSeconds),
      mean(({ serverCpuSeconds }) => serverCpuSeconds),
    ];
  };
  const what = `${PAGES.toLocaleString("en")} pages of ${ROWS_PER_PAGE} rows, each after ${LATENCY_MS} ms`;
  printTable(`${what}, ${CONNECTIONS} connections, medians of ${ROUNDS} rounds`, [
    ["", "pages/s", "s", "CPU s", "CPU s of the source"],
    row("undici, bodies thrown away", "bare"),
    row("export to CSV in a zip", "export"),
  ]);
  const ratios = samples.export.map(({ seconds }, round) => samples.bare[round]!.seconds / seconds);
  return [{ measure: "pages/s of an export / of bare undici", value: median(ratios), gate: { atLeast: 0.9 } }];
}

async function sampleOf(run: Run, server: PageServer, reader: Reader): Promise<SourceSample> {
  const directory = run.makeDirectory("objects");
  try {
    const before = await cpuMs(server.pid);
    const job: JobTask = { url: server.url, extType: "CSV", connections: CONNECTIONS, directory };
    const sample = await inChild<Sample>(
      "source-process.ts",
      { reader, job, pages: PAGES } satisfies SourceTask,
      NODE_FLAGS,
    );
    return { ...sample, serverCpuSeconds: ((await cpuMs(server.pid)) - before) / 1_000 };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** How much memory a process has had at most: one that does nothing but write a workbook in a thread, or one that runs a whole export. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { setFlagsFromString } from "node:v8";
import { Worker, isMainThread, workerData } from "node:worker_threads";
import type { MemoryTask, Peak } from "./memory.ts";
import type { JobTask } from "./pages.ts";

type WriterTask = Extract<MemoryTask, { kind: "writer" }>;

/** As lib/job-thread/run.ts has it. */
const YOUNG_GENERATION_MB = 24;
const HEAP_MB = 1_024;

/** Imports only what its task is about: the rest of the program would be in the figure. */
async function measure(task: MemoryTask): Promise<Peak> {
  const { peakBytes, residentBytes } = await import("../queue/processes.ts");
  const work = task.kind === "writer" ? writeInThread(task) : await exporting(task.job, task.rows);
  const restBytes = await residentBytes(process.pid);
  await work();
  return { restBytes, peakBytes: await peakBytes(process.pid) };
}

function writeInThread(task: WriterTask): () => Promise<void> {
  // As scripts/start.ts does, for the rounds with the flags of `npm start`.
  setFlagsFromString("--max-semi-space-size=0");
  return async () => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: task,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    await once(worker, "exit");
  };
}

async function exporting(task: JobTask, rows: number): Promise<() => Promise<void>> {
  const { runExportJob } = await import("../../../services/export/job.ts");
  const { exportJobOf } = await import("./pages.ts");
  return async () => {
    const options = { signal: new AbortController().signal, onProgress: () => undefined };
    const result = await runExportJob(exportJobOf(task), options);
    if (result.rows !== rows) throw new Error(`${result.rows} rows of ${rows} were exported`);
  };
}

async function write({ rows, path }: WriterTask): Promise<void> {
  const { RowCursor } = await import("../../../lib/tabular/row-cursor.ts");
  const { writeTable } = await import("../../../lib/tabular/write-table.ts");
  const { COLUMNS, freshBatches } = await import("./rows.ts");
  const batches = async function* () {
    yield* freshBatches(rows);
  };
  const format = { extType: "XLSX", title: "bench", level: 1, formulaGuard: true, longText: "fail" } as const;
  const options = { ...format, createdAt: new Date() };
  const losses = { unmappable: 0, truncated: 0 };
  await pipeline(writeTable(COLUMNS, new RowCursor(batches()), Infinity, options, losses), createWriteStream(path));
}

if (isMainThread) {
  const { asChild } = await import("./child.ts");
  await asChild(measure);
} else {
  await write(workerData as WriterTask);
}

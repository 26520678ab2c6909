/** How much memory a process has had at most that does nothing but export a statement to CSV in a thread. */
import { once } from "node:events";
import { Writable } from "node:stream";
import { Worker, isMainThread, workerData } from "node:worker_threads";
import type { Peak } from "../export/memory.ts";
import type { MemoryTask } from "./memory.ts";

/** As services/export/job.ts has it. */
const LIMITS = { maxOldGenerationSizeMb: 1_024, maxYoungGenerationSizeMb: 24 };

async function measure(task: MemoryTask): Promise<Peak> {
  const { peakBytes, residentBytes } = await import("../queue/processes.ts");
  const restBytes = await residentBytes(process.pid);
  const worker = new Worker(new URL(import.meta.url), { workerData: task, resourceLimits: LIMITS });
  await once(worker, "exit");
  return { restBytes, peakBytes: await peakBytes(process.pid) };
}

if (isMainThread) {
  const { asChild } = await import("../export/child.ts");
  await asChild(measure);
} else {
  const { exportRows } = await import("./export-rows.ts");
  const { dsn, statement, rows } = workerData as MemoryTask;
  const written = await exportRows(
    dsn,
    { statement },
    "CSV",
    new Writable({ write: (_chunk, _encoding, done) => done() }),
  );
  if (written !== rows) throw new Error(`${written} rows of ${rows} were written`);
}

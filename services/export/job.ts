import { randomUUID } from "node:crypto";
import { Worker } from "node:worker_threads";
import { LongshoreError } from "../../lib/errors.ts";
import { openObjects, sweepUnfinished } from "../../lib/objects/open.ts";
import type { FromThread, JobStart, ToThread } from "./job-messages.ts";
import { receiveError } from "./job-messages.ts";
import type { ExportJob, ExportProgress, ExportResult } from "./job-spec.ts";

/** How long an aborted thread may take to end by itself; the whole must be over within a second. */
const GRACE_MS = 700;

/** Three times what V8 calls a semi-space: less makes the collector run more, more only takes memory. */
const YOUNG_GENERATION_MB = 24;

/** How many there are now: their threads share what the process has only once. */
const running = new Int32Array(new SharedArrayBuffer(4));

export interface ExportJobOptions {
  signal: AbortSignal;
  /** Called at most four times a second, and once more at the end. */
  onProgress: (progress: ExportProgress) => void;
}

/**
 * Runs an export in a thread of its own, so that neither its work nor its memory touches the node. Aborting the signal
 * ends it within a second. However it fails, it leaves no file.
 */
export async function runExportJob(job: ExportJob, { signal, onProgress }: ExportJobOptions): Promise<ExportResult> {
  signal.throwIfAborted();
  const owner = `export-${randomUUID()}`;
  const worker = new Worker(new URL("./job-thread.ts", import.meta.url), {
    name: "export",
    workerData: { job, owner, running } satisfies JobStart,
    resourceLimits: { maxOldGenerationSizeMb: job.limits.heapMb, maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  Atomics.add(running, 0, 1);
  let timer: NodeJS.Timeout | undefined;
  const abort = () => {
    worker.postMessage({ kind: "abort" } satisfies ToThread);
    timer = setTimeout(() => void worker.terminate(), GRACE_MS);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    const end = await endOf(worker, job, onProgress);
    if (end.kind === "done") {
      if (!signal.aborted) return end.result;
      await withdraw(job, end.etag);
      throw signal.reason;
    }
    // What cannot be removed now is at a later opening; it must not hide how the job ended.
    if (end.kind === "crashed") await sweepUnfinished(job.objects, owner).catch(() => undefined);
    signal.throwIfAborted();
    throw end.kind === "failed" ? receiveError(end.error) : end.error;
  } finally {
    Atomics.sub(running, 0, 1);
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

type End = Exclude<FromThread, { kind: "progress" }> | { kind: "crashed"; error: Error };

function endOf(worker: Worker, job: ExportJob, onProgress: (progress: ExportProgress) => void): Promise<End> {
  return new Promise((resolve) => {
    let end: End | undefined;
    worker.on("message", (message: FromThread) => {
      if (message.kind === "progress") return onProgress(message.progress);
      end = message;
      // Its work is over: whatever would still keep it (a socket, a timer) must not.
      void worker.terminate();
    });
    worker.on("error", (error: NodeJS.ErrnoException) => {
      end = { kind: "crashed", error: error.code === "ERR_WORKER_OUT_OF_MEMORY" ? outOfMemory(job) : error };
    });
    worker.on("exit", (code) => {
      resolve(end ?? { kind: "crashed", error: new Error(`the export's thread ended with code ${code}`) });
    });
  });
}

function outOfMemory({ limits }: ExportJob): LongshoreError {
  const message = `the export needed more than its ${limits.heapMb} MiB of memory; ask for fewer rows a page`;
  return new LongshoreError("RESOURCE_EXHAUSTED", message, { reason: "OUT_OF_MEMORY" });
}

/** The abort came after the file was in place; by now another run may have replaced it with its own. */
async function withdraw(job: ExportJob, etag: string): Promise<void> {
  const store = await openObjects(job.objects);
  if ((await store.head(job.object))?.etag === etag) await store.delete(job.object);
}

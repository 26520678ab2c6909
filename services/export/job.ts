import { runInThread } from "../../lib/job-thread/run.ts";
import type { ExportJob, ExportProgress, ExportResult } from "./job-spec.ts";

export interface ExportJobOptions {
  signal: AbortSignal;
  /** Called at most four times a second, and once more at the end. */
  onProgress: (progress: ExportProgress) => void;
}

/** Runs an export in a thread of its own. Aborting the signal ends it within a second. However it fails, it leaves no file. */
export function runExportJob(job: ExportJob, { signal, onProgress }: ExportJobOptions): Promise<ExportResult> {
  return runInThread<ExportResult, ExportProgress>({
    name: "export",
    script: new URL("./job-thread.ts", import.meta.url),
    data: job,
    objects: job.objects,
    heapMb: job.limits.heapMb,
    memoryAdvice: "ask for fewer rows a page",
    signal,
    onProgress,
  });
}

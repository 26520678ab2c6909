import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { runInThread } from "../../lib/job-thread/run.ts";
import type { DataWork, WorkEstimate, WorkPlace, WorkProgress, WorkResult } from "./work.ts";

/** What the thread is told. */
export interface WorkJob {
  step: "run" | "check";
  work: DataWork;
  place: WorkPlace;
}

export interface RunOptions {
  signal: AbortSignal;
  /** Called at most four times a second, and once more at the end. */
  onProgress: (progress: WorkProgress) => void;
}

/**
 * Does a work in a thread of its own. Aborting the signal ends it within a second, on the database's server too. However it
 * fails it leaves no file; rows that an import has committed stay.
 */
export function runWork(work: DataWork, place: WorkPlace, options: RunOptions): Promise<WorkResult> {
  return inThread<WorkResult>({ step: "run", work, place }, options);
}

/** Rejects with what would keep the work from being done: what its database, its upload and the rules of masks say. */
export function checkWork(
  work: DataWork,
  place: WorkPlace,
  { signal }: { signal: AbortSignal },
): Promise<WorkEstimate> {
  return inThread<WorkEstimate>({ step: "check", work, place }, { signal, onProgress: () => {} });
}

async function inThread<Result>({ step, work, place }: WorkJob, { signal, onProgress }: RunOptions): Promise<Result> {
  // Of its own, so that nothing is left where the thread has to be ended by force.
  const tempDir = await mkdtemp(join(place.tempDir, "work-"));
  try {
    return await runInThread<Result, WorkProgress>({
      name: work.kind,
      script: new URL("./job-thread.ts", import.meta.url),
      data: { step, work, place: { ...place, tempDir } } satisfies WorkJob,
      objects: place.objects,
      heapMb: place.heapMb,
      signal,
      onProgress,
    });
  } finally {
    await rm(tempDir, { recursive: true, force: true });
  }
}

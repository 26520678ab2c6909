import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import type { ObjectStore } from "../objects/object-store.ts";
import { openObjects } from "../objects/open.ts";
import { shareWriters } from "../tabular/deflate.ts";
import type { FromThread, JobOutcome, JobStart, ToThread } from "./messages.ts";
import { sendError } from "./sent-error.ts";

/** What a job has in its thread. */
export interface JobScope<Progress> {
  /** Its unfinished files are removed where the thread has to be ended by force. */
  store: ObjectStore;
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

/** The thread's side of `runInThread`: runs the job that the thread was started with, tells how it goes, and ends. */
export async function serveJob<Data, Result, Progress>(
  work: (data: Data, scope: JobScope<Progress>) => Promise<JobOutcome<Result>>,
): Promise<void> {
  const port = parentPort!;
  // The node's own work goes before. On Linux this is the thread's priority, elsewhere it would be the whole process's.
  if (process.platform === "linux") setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const { data, objects, owner, running } = workerData as JobStart;
  shareWriters(running);
  const controller = new AbortController();
  port.on("message", (message: ToThread) => {
    if (message.kind === "abort") controller.abort();
  });
  const tell = (message: FromThread) => port.postMessage(message);
  try {
    const store = await openObjects(objects, owner);
    const onProgress = (progress: Progress) => tell({ kind: "progress", progress });
    tell({ kind: "done", outcome: await work(data as Data, { store, signal: controller.signal, onProgress }) });
  } catch (error) {
    tell({ kind: "failed", error: sendError(error) });
  }
}

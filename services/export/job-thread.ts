/** The thread of one export: runs the job that it was started with, tells how it goes, and ends. */
import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { openObjects } from "../../lib/objects/open.ts";
import { shareWriters } from "../../lib/tabular/deflate.ts";
import type { FromThread, JobStart, ToThread } from "./job-messages.ts";
import { sendError } from "./job-messages.ts";
import { exportTable } from "./pipeline.ts";

const port = parentPort!;
// The node's own work goes before. On Linux this is the thread's priority, elsewhere it would be the whole process's.
if (process.platform === "linux") setPriority(constants.priority.PRIORITY_LOW);
const { job, owner, running } = workerData as JobStart;
shareWriters(running);
const controller = new AbortController();

port.on("message", (message: ToThread) => {
  if (message.kind === "abort") controller.abort();
});

function tell(message: FromThread): void {
  port.postMessage(message);
}

try {
  const store = await openObjects(job.objects, owner);
  const { etag, ...result } = await exportTable(job, store, {
    signal: controller.signal,
    onProgress: (progress) => tell({ kind: "progress", progress }),
  });
  tell({ kind: "done", result, etag });
} catch (error) {
  tell({ kind: "failed", error: sendError(error) });
}

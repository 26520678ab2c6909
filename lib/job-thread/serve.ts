import { constants, setPriority } from "node:os";
import type { Transferable } from "node:worker_threads";
import { parentPort, workerData } from "node:worker_threads";
import type { ObjectStore } from "../objects/object-store.ts";
import { openObjects } from "../objects/open.ts";
import { shareWriters } from "../tabular/deflate.ts";
import type { FromThread, JobOutcome, JobStart, ToThread } from "./messages.ts";
import { receiveError, sendError } from "./sent-error.ts";

/** What a job has in its thread. */
export interface JobScope<Progress> {
  /** Its unfinished files are removed where the thread has to be ended by force. */
  store: ObjectStore;
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
  /**
   * Asks the node, by the job's `onCall`, and answers what that answers. How many are on their way the job must bound. What is
   * transferred is not copied, and is not the thread's any more.
   */
  call: (request: unknown, transferred?: readonly Transferable[]) => Promise<unknown>;
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
  const calls = new Calls();
  port.on("message", (message: ToThread) => {
    if (message.kind === "abort") controller.abort();
    else calls.end(message);
  });
  const tell = (message: FromThread, transferred: readonly Transferable[] = []) =>
    port.postMessage(message, transferred);
  try {
    const store = await openObjects(objects, owner);
    const onProgress = (progress: Progress) => tell({ kind: "progress", progress });
    const call: JobScope<Progress>["call"] = (request, transferred) =>
      calls.begin((number) => tell({ kind: "call", call: number, request }, transferred));
    tell({ kind: "done", outcome: await work(data as Data, { store, signal: controller.signal, onProgress, call }) });
  } catch (error) {
    tell({ kind: "failed", error: sendError(error) });
  }
}

/** What the node was asked and has not answered yet. */
class Calls {
  readonly #open = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;

  begin(send: (number: number) => void): Promise<unknown> {
    const ending = Promise.withResolvers<unknown>();
    this.#last += 1;
    this.#open.set(this.#last, ending);
    send(this.#last);
    return ending.promise;
  }

  end(message: Exclude<ToThread, { kind: "abort" }>): void {
    const ending = this.#open.get(message.call);
    this.#open.delete(message.call);
    if (message.kind === "answer") ending?.resolve(message.value);
    else ending?.reject(receiveError(message.error));
  }
}

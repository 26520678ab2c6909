import { randomUUID } from "node:crypto";
import { Worker } from "node:worker_threads";
import { LongshoreError } from "../errors.ts";
import type { ObjectsPlace } from "../objects/open.ts";
import { openObjects, sweepUnfinished } from "../objects/open.ts";
import type { FromThread, JobOutcome, JobStart, ToThread, WrittenObject } from "./messages.ts";
import { receiveError, sendError } from "./sent-error.ts";

/** How long an aborted thread may take to end by itself; the whole must be over within a second. */
const GRACE_MS = 700;
/** How long a thread is waited for that was ended by force: while it is within native code, such as SQLite's, it goes on. */
const FORCE_MS = 150;

/** Three times what V8 calls a semi-space: less makes the collector run more, more only takes memory. */
const YOUNG_GENERATION_MB = 24;

/** How many there are now: their threads share what the process has only once. */
const running = new Int32Array(new SharedArrayBuffer(4));

export interface ThreadJob<Progress> {
  /** Names the thread; as errors call the job: `export`. */
  name: string;
  /** The module that the thread runs; it calls `serveJob`. */
  script: URL;
  /** What the job is, as plain data. */
  data: unknown;
  /** Where its files go. */
  objects: ObjectsPlace;
  /** Heap of the thread, in MiB; a job that needs more fails alone. */
  heapMb: number;
  /** Of its heap, what is for new objects; less makes the collector run more, and frees what buffers hold sooner. */
  youngMb?: number;
  /** What helps a job that needed more. */
  memoryAdvice?: string;
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
  /** Answers what the thread asks; its error is the thread's. */
  onCall?: (request: unknown) => Promise<unknown>;
}

/**
 * Runs a job in a thread of its own, so that neither its work nor its memory touches the node. Aborting the signal
 * ends it within a second. However it fails, it leaves no file.
 */
export async function runInThread<Result, Progress = never>(job: ThreadJob<Progress>): Promise<Result> {
  const { name, objects, signal } = job;
  signal.throwIfAborted();
  const owner = `${name}-${randomUUID()}`;
  const worker = new Worker(job.script, {
    name,
    workerData: { data: job.data, objects, owner, running } satisfies JobStart,
    resourceLimits: {
      maxOldGenerationSizeMb: job.heapMb,
      maxYoungGenerationSizeMb: job.youngMb ?? YOUNG_GENERATION_MB,
    },
  });
  Atomics.add(running, 0, 1);
  let timer: NodeJS.Timeout | undefined;
  const stuck = Promise.withResolvers<End>();
  const abort = () => {
    worker.postMessage({ kind: "abort" } satisfies ToThread);
    timer = setTimeout(() => {
      void worker.terminate();
      timer = setTimeout(() => stuck.resolve({ kind: "crashed", error: new Error("it does not end") }), FORCE_MS);
    }, GRACE_MS);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    const end = await Promise.race([endOf(worker, job), stuck.promise]);
    if (end.kind === "done") {
      const { result, written } = end.outcome as JobOutcome<Result>;
      if (!signal.aborted) return result;
      await withdraw(objects, written);
      throw signal.reason;
    }
    // What cannot be removed now is at a later opening; it must not hide how the job ended.
    if (end.kind === "crashed") await sweepUnfinished(objects, owner).catch(() => undefined);
    signal.throwIfAborted();
    throw end.kind === "failed" ? receiveError(end.error) : end.error;
  } finally {
    Atomics.sub(running, 0, 1);
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

type End = Exclude<FromThread, { kind: "progress" | "call" }> | { kind: "crashed"; error: Error };

function endOf<Progress>(worker: Worker, job: ThreadJob<Progress>): Promise<End> {
  return new Promise((resolve) => {
    let end: End | undefined;
    worker.on("message", (message: FromThread) => {
      if (message.kind === "progress") return job.onProgress(message.progress as Progress);
      if (message.kind === "call") return void answer(worker, job, message);
      end = message;
      // Its work is over: whatever would still keep it (a socket, a timer) must not.
      void worker.terminate();
    });
    worker.on("error", (error: NodeJS.ErrnoException) => {
      end = { kind: "crashed", error: error.code === "ERR_WORKER_OUT_OF_MEMORY" ? outOfMemory(job) : error };
    });
    worker.on("exit", (code) => {
      resolve(end ?? { kind: "crashed", error: new Error(`the ${job.name}'s thread ended with code ${code}`) });
    });
  });
}

async function answer<Progress>(
  worker: Worker,
  { onCall }: ThreadJob<Progress>,
  { call, request }: Extract<FromThread, { kind: "call" }>,
): Promise<void> {
  const tell = (message: ToThread) => worker.postMessage(message);
  try {
    tell({ kind: "answer", call, value: await onCall?.(request) });
  } catch (error) {
    tell({ kind: "refusal", call, error: sendError(error) });
  }
}

function outOfMemory({ name, heapMb, memoryAdvice }: ThreadJob<never>): LongshoreError {
  const advice = memoryAdvice === undefined ? "" : `; ${memoryAdvice}`;
  const message = `the ${name} needed more than its ${heapMb} MiB of memory${advice}`;
  return new LongshoreError("RESOURCE_EXHAUSTED", message, { reason: "OUT_OF_MEMORY" });
}

/** The abort came after the files were in place; by now another run may have replaced one with its own. */
async function withdraw(objects: ObjectsPlace, written: readonly WrittenObject[]): Promise<void> {
  const store = await openObjects(objects);
  for (const { key, etag } of written) {
    if ((await store.head(key))?.etag === etag) await store.delete(key);
  }
}

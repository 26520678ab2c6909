/** Rows that came in the request: read in a thread, for a body of 64 MB would hold up the node for a second. */
import { Worker } from "node:worker_threads";
import type { SentError } from "../../lib/job-thread/sent-error.ts";
import { receiveError } from "../../lib/job-thread/sent-error.ts";
import type { ObjectsPlace } from "../../lib/objects/open.ts";
import type { ExportRequest, RequestLimits } from "./request.ts";

/** What the thread is started with. */
export interface RawBodyStart {
  objects: ObjectsPlace;
  /** The key of the object that holds the request's body. */
  body: string;
  limits: RequestLimits;
  /** See hashKey. */
  secret: Uint8Array;
}

export interface RawBody {
  hashKey: string;
  request: ExportRequest;
  /** The key of the object that now holds the rows. */
  rows: string;
}

export type FromRawBodyThread = { kind: "done"; result: RawBody } | { kind: "failed"; error: SentError };

/** Checks the body, stores its rows as an object of their own and answers the rest of it. */
export function readRawBody(start: RawBodyStart, signal: AbortSignal): Promise<RawBody> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL("./raw-body-thread.ts", import.meta.url), {
      name: "export-raw-body",
      workerData: start,
      resourceLimits: { maxOldGenerationSizeMb: 1_024 },
    });
    const abort = () => void thread.terminate();
    signal.addEventListener("abort", abort, { once: true });
    thread.once("message", (message: FromRawBodyThread) => {
      if (message.kind === "done") resolve(message.result);
      else reject(receiveError(message.error));
    });
    thread.once("error", reject);
    thread.once("exit", () => {
      signal.removeEventListener("abort", abort);
      // Has no effect where the thread has answered.
      reject(signal.aborted ? (signal.reason as Error) : new Error("the thread ended without an answer"));
    });
  });
}

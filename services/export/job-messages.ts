import type { ErrorData, ErrorType } from "../../lib/errors.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { ExportJob, ExportProgress, ExportResult } from "./job-spec.ts";

/** What a job's thread is started with. */
export interface JobStart {
  job: ExportJob;
  /** Names the thread's unfinished file, so that it can be removed when the thread had to be ended by force. */
  owner: string;
  /** Counts the exports that run in this process. */
  running: Int32Array<SharedArrayBuffer>;
}

/** What the job tells its thread. */
export type ToThread = { kind: "abort" };

/** What the thread tells of its job. */
export type FromThread =
  | { kind: "progress"; progress: ExportProgress }
  | { kind: "done"; result: ExportResult; etag: string }
  | { kind: "failed"; error: SentError };

/** An error in a form that survives the way between threads, which strips an Error of its own fields. */
export interface SentError {
  /** Absent where Longshore did not throw it on purpose. */
  type?: ErrorType;
  message: string;
  data: ErrorData;
  stack?: string;
}

export function sendError(thrown: unknown): SentError {
  if (thrown instanceof LongshoreError) return { type: thrown.type, message: thrown.message, data: thrown.data };
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return { message: error.message, data: {}, stack: error.stack };
}

export function receiveError({ type, message, data, stack }: SentError): Error {
  if (type) return new LongshoreError(type, message, data);
  const error = new Error(message);
  error.stack = stack ?? error.stack;
  return error;
}

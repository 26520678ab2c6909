import type { ObjectsPlace } from "../objects/open.ts";
import type { SentError } from "./sent-error.ts";

/** What a job's thread is started with. */
export interface JobStart {
  /** What the job is, as plain data. */
  data: unknown;
  objects: ObjectsPlace;
  /** Names the thread's unfinished files, so that they can be removed when the thread had to be ended by force. */
  owner: string;
  /** Counts the jobs that run in this process. */
  running: Int32Array<SharedArrayBuffer>;
}

/** An object that a job has put in place. */
export interface WrittenObject {
  key: string;
  etag: string;
}

/** What a job came to. */
export interface JobOutcome<Result> {
  result: Result;
  /** Taken back where the job was aborted meanwhile. */
  written: readonly WrittenObject[];
}

/** What whoever runs the job tells its thread. */
export type ToThread =
  | { kind: "abort" }
  | { kind: "answer"; call: number; value: unknown }
  | { kind: "refusal"; call: number; error: SentError };

/** What the thread tells of its job. */
export type FromThread =
  | { kind: "progress"; progress: unknown }
  | { kind: "call"; call: number; request: unknown }
  | { kind: "done"; outcome: JobOutcome<unknown> }
  | { kind: "failed"; error: SentError };

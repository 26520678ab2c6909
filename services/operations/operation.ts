/** A task as a google.longrunning operation (https://google.aip.dev/151), with no wire in it. */
import type { ErrorType } from "../../lib/errors.ts";
import { LongshoreError, notFound, viewError } from "../../lib/errors.ts";
import { timestampOf } from "../../lib/protobuf/timestamp.ts";
import type { OperationDetail } from "../../mixins/worker.mixin.ts";

/** The part of a task that this view reads; see queues. Times are RFC 3339. */
export interface OperationTask {
  id: number;
  hash: string;
  channel: string;
  owner: string;
  state: "WAITING" | "PROCEEDING" | "SUCCESS" | "FAILURE" | "CANCEL";
  output: string;
  progress: number;
  attempts: number;
  createTime: string;
  updateTime: string;
  startTime?: string;
  endTime?: string;
  doneUnits?: number;
  totalUnits?: number;
  errorType?: ErrorType;
  internal?: true;
  forgotten?: true;
}

/** A message with the full name of its type, fields as in the proto. */
export interface TypedMessage {
  type: string;
  value: Record<string, unknown>;
}

export interface OperationError {
  /** A google.rpc.Code. */
  code: number;
  message: string;
  /** UPPER_SNAKE, for google.rpc.ErrorInfo. */
  reason: string;
}

export interface Operation {
  name: string;
  done: boolean;
  metadata: TypedMessage;
  /** Done: this, or the response. */
  error?: OperationError;
  response?: TypedMessage;
}

export const METADATA_TYPE = "longshore.v1.OperationMetadata";
export const USER_KIND = "queues.task";
const USER_RESPONSE = "longshore.v1.QueueTaskResult";
export const NAME_PREFIX = "operations/";
export const CANCELLED_MESSAGE = "the operation was cancelled";
/** Of a name that is none of ours. */
const MAX_TOLD = 200;
const CODE_CANCELLED = 1;
const CODE_UNKNOWN = 2;

/** The HashCode in an operation's name; throws where it is none. */
export function hashOf(name: unknown): string {
  const hash = typeof name === "string" && name.startsWith(NAME_PREFIX) ? name.slice(NAME_PREFIX.length) : "";
  if (hash !== "" && !hash.includes("/")) return hash;
  const metadata = { name: String(name).slice(0, MAX_TOLD) };
  throw new LongshoreError("INVALID_ARGUMENT", "name: must be operations/{id}", { field: "name", metadata });
}

export function nameOf(hash: string): string {
  return NAME_PREFIX + hash;
}

export function noSuchOperation(name: string): Error {
  const told = name.slice(0, MAX_TOLD);
  return notFound(`there is no operation ${told}`, { name: told });
}

export function kindOf({ internal, channel }: OperationTask): string {
  return internal ? channel : USER_KIND;
}

export function isDone({ state }: OperationTask): boolean {
  return state !== "WAITING" && state !== "PROCEEDING";
}

/** Changes whenever the operation does. */
export function versionOf({ state, attempts, progress, updateTime }: OperationTask): string {
  return [state, attempts, progress, updateTime].join("|");
}

/** `response` is the type of what `detail` holds; without it the task is a client's. */
export function operationOf(task: OperationTask, detail?: OperationDetail, response?: string): Operation {
  const operation: Operation = {
    name: nameOf(task.hash),
    done: isDone(task),
    metadata: { type: METADATA_TYPE, value: metadataOf(task, detail) },
  };
  if (task.state === "SUCCESS") {
    operation.response = response
      ? { type: response, value: detail?.response ?? {} }
      : // What a job of ours says to its own service is nobody else's business.
        { type: USER_RESPONSE, value: { id: task.id, output: task.internal ? "" : task.output } };
  } else if (operation.done) {
    operation.error = errorOf(task);
  }
  return operation;
}

function metadataOf(task: OperationTask, detail: OperationDetail = {}): Record<string, unknown> {
  // Of a task of ours the output says what its service makes of it.
  const said = !task.internal && task.state === "PROCEEDING" ? task.output : "";
  return {
    kind: kindOf(task),
    channel: task.channel,
    state: task.state,
    progress_percent: task.progress,
    done_units: task.doneUnits ?? 0,
    total_units: task.totalUnits ?? 0,
    create_time: timestampOf(task.createTime),
    start_time: task.startTime && timestampOf(task.startTime),
    update_time: timestampOf(task.updateTime),
    end_time: task.endTime && timestampOf(task.endTime),
    attempts: task.attempts,
    owner: task.owner,
    message: detail.message ?? said,
  };
}

function errorOf({ state, errorType, output }: OperationTask): OperationError {
  if (state === "CANCEL") return { code: CODE_CANCELLED, message: CANCELLED_MESSAGE, reason: "CANCELLED" };
  // What a client's worker reports says nothing of its kind.
  if (!errorType) return { code: CODE_UNKNOWN, message: output, reason: "TASK_FAILED" };
  return { code: viewError({ type: errorType }).grpc, message: output, reason: errorType };
}

/** The messages of the contract, as they come from gRPC and REST alike: what they say, and how tasks are told in them. */
import type { Context } from "moleculer";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import { parseTime } from "../../lib/rfc3339.ts";
import { checkTags, type TaskRequest } from "./task-request.ts";
import type { Report, ReportState, RetryPolicy, Task } from "./task.ts";
import { publicState } from "./task.ts";

/** How an error is told in this contract. */
export const STANDARD_ERRORS = { State: "$httpText", Message: "$message" };

export interface Meta {
  stream?: { id: string; call?: number };
  /** Metadata of a gRPC call. */
  grpc?: Record<string, string | undefined>;
  /** Headers of an HTTP request. */
  headers?: Record<string, string | undefined>;
}

export type Params = Record<string, unknown>;
export type StandardContext = Context<Params, Meta>;

const UINT64_MAX = 2n ** 64n - 1n;
const TASK_FIELDS = new Set([
  "ID",
  "Next",
  "Prior",
  "Owner",
  "State",
  "Input",
  "Output",
  "Channel",
  "HashCode",
  "RetryCount",
  "CreateTime",
  "UpdateTime",
  "RetryMaxLimit",
  "Priority",
  "DelaySeconds",
  "StartTime",
  "Deadline",
  "MaxRunSeconds",
  "RetryPolicy",
  "Tags",
  "Progress",
]);
const RETRY_FIELDS = new Set(["InitialSeconds", "Multiplier", "MaxSeconds", "DelaySeconds"]);
const MAX_PAGE = 1_000;
const DEFAULT_PAGE = 100;
const MAX_LOG_LINES = 100;
const MAX_LOG_BYTES = 4_096;

/** ReportTaskResultRequest.State. */
const REPORT_STATES: Record<string, ReportState> = {
  1: "SUCCESS",
  2: "FAILURE",
  4: "CANCEL",
  5: "READY",
  6: "RUNNING",
};

export function done<T extends object>(fields: T): { State: string; Message: string } & T {
  return { State: "200", Message: "", ...fields };
}

export function workerOf(ctx: StandardContext): string | undefined {
  const worker = (ctx.meta.grpc ?? ctx.meta.headers)?.["x-worker-id"];
  if (worker !== undefined && (worker === "" || worker.length > 256)) {
    throw invalidArgument("x-worker-id", "must be 1 to 256 characters");
  }
  return worker;
}

/** A Task message as a request; whether its values are within their limits is for `newTask` to say. */
export function readTask(value: unknown): TaskRequest {
  const task = readMessage("Task", value, TASK_FIELDS);
  const next = Number(readUint64("Task.Next", task.Next));
  if (next > Number.MAX_SAFE_INTEGER) throw invalidArgument("Task.Next", `there is no task ${next}`);
  const retryMax = Number(readUint64("Task.RetryMaxLimit", task.RetryMaxLimit));
  if (retryMax > Number.MAX_SAFE_INTEGER) throw invalidArgument("Task.RetryMaxLimit", "must be less than 2^53");
  const request: TaskRequest = {
    channel: readText("Task.Channel", task.Channel),
    owner: readUint64("Task.Owner", task.Owner),
    hash: readText("Task.HashCode", task.HashCode),
    input: readText("Task.Input", task.Input),
    next,
    retryMax,
  };
  if (task.Priority) request.priority = readNumber("Task.Priority", task.Priority);
  if (task.DelaySeconds) request.delayMs = readNumber("Task.DelaySeconds", task.DelaySeconds) * 1_000;
  if (task.StartTime) request.startAt = readTime("Task.StartTime", task.StartTime);
  if (task.Deadline) request.deadline = readTime("Task.Deadline", task.Deadline);
  const maxRun = Number(readUint64("Task.MaxRunSeconds", task.MaxRunSeconds));
  if (maxRun) request.maxRunMs = maxRun * 1_000;
  if (task.RetryPolicy) request.retryPolicy = readRetryPolicy(task.RetryPolicy);
  if (task.Tags) request.tags = readTags("Task.Tags", task.Tags);
  return request;
}

function readRetryPolicy(value: unknown): RetryPolicy {
  const policy = readMessage("Task.RetryPolicy", value, RETRY_FIELDS);
  const read = (name: string) => readNumber(`Task.RetryPolicy.${name}`, policy[name] ?? 0);
  const delays = policy.DelaySeconds ?? [];
  if (!Array.isArray(delays)) throw invalidArgument("Task.RetryPolicy.DelaySeconds", "must be a list");
  const delaysMs = delays.map((delay, index) => readNumber(`Task.RetryPolicy.DelaySeconds[${index}]`, delay) * 1_000);
  return {
    initialMs: (read("InitialSeconds") || 1) * 1_000,
    multiplier: read("Multiplier") || 2,
    maxMs: (read("MaxSeconds") || 600) * 1_000,
    ...(delaysMs.length ? { delaysMs } : {}),
  };
}

/** Tags by name. */
export function readTags(field: string, value: unknown): Record<string, string> {
  const entries = Object.entries(readMessage(field, value));
  const tags = Object.fromEntries(entries.map(([name, text]) => [name, readText(`${field}.${name}`, text)]));
  checkTags(field, tags);
  return tags;
}

/** A ReportTaskResultRequest, its ID apart, and the lines for the task's log. */
export function readReport(params: Params, worker: string | undefined): { said: Report; logs: string[] } {
  const number = readUint64("State", params.State);
  const state = REPORT_STATES[number];
  if (!state) {
    throw invalidArgument("State", `must be 1 SUCCESS, 2 FAILURE, 4 CANCEL, 5 WAITING or 6 PROCEEDING, not ${number}`);
  }
  const progress = Number(readUint64("Progress", params.Progress));
  const said: Report = { state, output: readText("Output", params.Output), progress, worker };
  if (params.NonRetryable) {
    if (params.NonRetryable !== true) throw invalidArgument("NonRetryable", "must be true or false");
    said.nonRetryable = true;
  }
  return { said, logs: readLogs(params.Logs) };
}

const NO_LOGS: string[] = [];

function readLogs(value: unknown): string[] {
  if (value === undefined || value === null) return NO_LOGS;
  if (!Array.isArray(value)) throw invalidArgument("Logs", "must be a list of lines");
  if (value.length > MAX_LOG_LINES) throw invalidArgument("Logs", `must be at most ${MAX_LOG_LINES} lines a report`);
  for (const [index, line] of value.entries()) {
    const text = readText(`Logs[${index}]`, line);
    if (Buffer.byteLength(text) > MAX_LOG_BYTES || !text.isWellFormed()) {
      throw invalidArgument(`Logs[${index}]`, `must be at most ${MAX_LOG_BYTES} bytes of valid Unicode`);
    }
  }
  return value as string[];
}

/** A Task message; 64-bit integers are text. */
export function writeTask(task: Task): Params {
  // What a job of Longshore's own was asked to do may hold its user's credentials.
  const input = task.internal ? "" : task.input;
  const message: Params = {
    ID: String(task._id),
    Next: String(task.next ?? 0),
    Prior: String(task.prior ?? 0),
    Owner: task.owner,
    State: publicState(task.state),
    Input: input,
    Output: task.output,
    Channel: task.channel,
    HashCode: task.hash,
    RetryCount: String(task.retries),
    CreateTime: task.createTime.toISOString(),
    UpdateTime: task.updateTime.toISOString(),
    RetryMaxLimit: String(task.retryMax),
  };
  if (task.priority) message.Priority = task.priority;
  if (task.availableAt) message.StartTime = task.availableAt.toISOString();
  if (task.deadline) message.Deadline = task.deadline.toISOString();
  if (task.maxRunMs) message.MaxRunSeconds = String(task.maxRunMs / 1_000);
  if (task.retryPolicy) message.RetryPolicy = writeRetryPolicy(task.retryPolicy);
  if (task.tags) message.Tags = task.tags;
  if (task.progress) message.Progress = String(task.progress);
  return message;
}

function writeRetryPolicy({ initialMs, multiplier, maxMs, delaysMs = [] }: RetryPolicy): Params {
  return {
    InitialSeconds: initialMs / 1_000,
    Multiplier: multiplier,
    MaxSeconds: maxMs / 1_000,
    DelaySeconds: delaysMs.map((delay) => delay / 1_000),
  };
}

/** A message, with none but these fields where they are given. */
export function readMessage(field: string, value: unknown, fields?: ReadonlySet<string>): Params {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument(field, "must be given, as a message");
  }
  if (fields) {
    for (const name in value)
      if (!fields.has(name)) throw invalidArgument(`${field}.${name}`, "there is no such field");
  }
  return value as Params;
}

/** A finite number; 0 where there is none. */
export function readNumber(field: string, value: unknown): number {
  if (value === undefined || value === null || value === "") return 0;
  const number = typeof value === "string" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw invalidArgument(field, "must be a number");
  return number;
}

/** RFC 3339, with an offset or Z. */
export function readTime(field: string, value: unknown): Date {
  const time = parseTime(readText(field, value));
  if (!time) throw invalidArgument(field, "must be an RFC 3339 time, such as 2030-01-31T12:00:00Z");
  return time;
}

export function readText(field: string, value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw invalidArgument(field, "must be a string");
  return value;
}

/** A uint64 in decimal, from text or a number; "0" where there is none. */
export function readUint64(field: string, value: unknown): string {
  if (value === undefined || value === null || value === "") return "0";
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
  if (value === "0") return value;
  if (typeof value === "string" && /^[1-9]\d{0,14}$/.test(value)) return value;
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) {
    const number = BigInt(value);
    if (number <= UINT64_MAX) return String(number);
  }
  throw invalidArgument(field, "must be an unsigned 64-bit integer, as a number or as text");
}

export function readID(value: unknown): number {
  const text = readUint64("ID", value);
  const id = Number(text);
  if (id === 0) throw invalidArgument("ID", "must be given");
  // IDs that large are never assigned.
  if (!Number.isSafeInteger(id)) throw notFound(`ID: there is no task ${text}`);
  return id;
}

/** How many a page may hold: 1 to 1,000, 100 where that is not said. */
export function readPageSize(params: Params): number {
  const size = Number(readUint64("PageSize", params.PageSize)) || DEFAULT_PAGE;
  return readCount("PageSize", size, 1, MAX_PAGE);
}

export function readCount(field: string, value: unknown, min: number, max: number): number {
  const count = Number(readUint64(field, value));
  if (count < min || count > max) throw invalidArgument(field, `must be ${min} to ${max}`);
  return count;
}

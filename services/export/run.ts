/** One run of an export: what its task holds, and how the task is told in the document's words. */
import { basename } from "node:path/posix";
import { failedPrecondition } from "../../lib/errors.ts";
import { timestampOf } from "../../lib/protobuf/timestamp.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { EXT_TYPES } from "../../lib/tabular/ext-type.ts";
import { fileName } from "../../lib/tabular/file-name.ts";
import type { OperationDetail } from "../../mixins/worker.mixin.ts";
import type { ExportSource, ExportResult } from "./job-spec.ts";
import type { ExportRequest, HttpSource, RequestLimits } from "./request.ts";
import { hashKey, parseHttpExport } from "./request.ts";

/** To a file; empty once that is not kept. */
export interface Link {
  url: string;
  expires?: Date;
}

/** The input of a run's task. */
export interface ExportRun extends ExportRequest {
  /** The request's key; the HashCode of its first run. */
  hashKey: string;
  source: ExportSource;
}

/** The part of a task that this file reads. */
export interface RunTask {
  id: number;
  hash: string;
  state: string;
  input: string;
  output: string;
  progress: number;
  /** Times that it was begun. */
  attempts: number;
  createTime: string;
  updateTime: string;
  startTime?: string;
  endTime?: string;
}

/** The document's numbers: 1 running, 2 done, 3 failed, 4 cancelled. */
const STATUS: Record<string, 1 | 2 | 3 | 4> = { WAITING: 1, PROCEEDING: 1, SUCCESS: 2, FAILURE: 3, CANCEL: 4 };

export interface Summary {
  created_at: string;
  ext_type: string;
  fail_reason: string;
  hash_key: string;
  id: number;
  source_type: "http" | "raw";
  status: 1 | 2 | 3 | 4;
  title: string;
}

export interface CallbackOutcome {
  state: "waiting" | "delivered" | "failed";
  /** Times that it was sent, or tried to be. */
  tries: number;
  fail_reason: string;
}

export interface Detail extends Summary {
  down_url: string;
  /** Percent, 100 only when done. */
  progress: number;
  pages: number;
  /** 0 while the source has not said. */
  total_pages: number;
  rows: number;
  total_rows: number;
  bytes: number;
  /** Characters that the file's encoding lacks. */
  unmappable: number;
  sha256: string;
  /** What became of the callback; null where none was asked for. */
  callback: CallbackOutcome | null;
  /** While it runs; 0 before its first rows. */
  rows_per_second: number;
  /** While it runs and its whole is known, else null. */
  seconds_left: number | null;
  operation: string;
  updated_at: string;
}

/** The document's body as a run; for `secret` see hashKey. */
export function readHttpRun(body: Record<string, unknown>, limits: RequestLimits, secret: Buffer): ExportRun {
  const { source, conn, ...request } = parseHttpExport(body, limits);
  const key = hashKey(body, secret);
  return { ...request, hashKey: key, source: { kind: "http", ...source, connections: conn, taskId: key } };
}

/** All but its secrets. */
export function readRun(task: Pick<RunTask, "input">): ExportRun {
  return JSON.parse(task.input) as ExportRun;
}

/** A run as its task holds it: what the store, or a copy of it, must not give away can be read only with `secret`. */
export function sealRun({ password, ...run }: ExportRun, secret: Buffer): string {
  const header = run.source.kind === "http" ? run.source.header : {};
  if (password === undefined && Object.keys(header).length === 0) return JSON.stringify(run);
  const source = run.source.kind === "http" ? { ...run.source, header: {} } : run.source;
  return JSON.stringify({ ...run, source, sealed: seal(JSON.stringify({ password, header }), secret) });
}

/** A run with its secrets. */
export function unsealRun(task: Pick<RunTask, "input">, secret: Buffer): ExportRun {
  const { sealed, ...run } = JSON.parse(task.input) as ExportRun & { sealed?: string };
  if (sealed === undefined) return run;
  const { password, header } = JSON.parse(openSealed(sealed, secret)) as Pick<HttpSource, "header"> & {
    password?: string;
  };
  return { ...run, password, source: run.source.kind === "http" ? { ...run.source, header } : run.source };
}

function openSealed(sealed: string, secret: Buffer): string {
  try {
    return unseal(sealed, secret);
  } catch {
    throw failedPrecondition("what the request keeps secret was sealed with another SIGNING_KEY than this node has");
  }
}

/** What a workbook's last sheet tells of a run. */
export function summaryOf(run: ExportRun): [label: string, value: string | Date][] {
  const { source } = run;
  const http = source.kind === "http";
  return [
    ["Title", run.title],
    ["Exported by", run.userId],
    ["Exported at (UTC)", new Date()],
    ["Source", http ? source.url.replace(/[?#].*/s, "") : "rows in the request"],
    ["Filter", http ? JSON.stringify(source.param) : ""],
    ["Request", run.hashKey],
  ];
}

/** The key of the object that an attempt of a run writes: each has its own, so that a late one never touches another's. */
export function fileKey(run: ExportRun, taskHash: string, attempt: number, extension: string): string {
  return `exports/${taskHash}.${attempt === 1 ? "" : `${attempt}.`}${run.zip ? "zip" : extension}`;
}

/** What a run's file downloads as. */
export function downloadName({ title, zip, hashKey, extType }: ExportRun): string {
  return zip ? `${hashKey}.zip` : fileName(title, EXT_TYPES[extType].extension);
}

/** A run as an operation, with the link to its file. */
export function describeRun(task: RunTask, { url, expires }: Link): OperationDetail {
  const result = readResult(task);
  if (!result) return {};
  const { file, name = basename(file), rows, pages, bytes, sha256, unmappable } = result;
  const response = { file_name: name, rows, pages, bytes, sha256, unmappable, download_url: url };
  const until = expires && { download_expire_time: timestampOf(expires.toISOString()) };
  return { response: { ...response, ...until } };
}

/** Whether a run waits or is worked on. */
export function isUnderWay({ state }: Pick<RunTask, "state">): boolean {
  return STATUS[state] === 1;
}

export function summarize(task: RunTask): Summary {
  const run = readRun(task);
  return {
    created_at: task.createTime,
    ext_type: run.extType,
    fail_reason: failReason(task),
    hash_key: run.hashKey,
    id: task.id,
    source_type: run.source.kind === "http" ? "http" : "raw",
    status: STATUS[task.state] ?? 1,
    title: run.title,
  };
}

/** `callback`: the task that delivers it. */
export function detail(task: RunTask, downUrl: string, callback?: RunTask): Detail {
  const progress = readProgress(task);
  const result = readResult(task);
  return {
    ...summarize(task),
    down_url: downUrl,
    progress: task.progress,
    pages: result?.pages ?? progress.pages ?? 0,
    total_pages: result?.pages ?? progress.totalPages ?? 0,
    rows: result?.rows ?? progress.rows ?? 0,
    total_rows: result?.rows ?? progress.totalRows ?? 0,
    bytes: result?.bytes ?? progress.bytes ?? 0,
    unmappable: result?.unmappable ?? 0,
    sha256: result?.sha256 ?? "",
    callback: callback ? outcomeOf(callback) : null,
    ...pace(task, progress),
    operation: `operations/${task.hash}`,
    updated_at: task.updateTime,
  };
}

function outcomeOf({ state, attempts, output }: RunTask): CallbackOutcome {
  if (isUnderWay({ state })) return { state: "waiting", tries: attempts, fail_reason: "" };
  if (state === "SUCCESS") return { state: "delivered", tries: attempts, fail_reason: "" };
  return { state: "failed", tries: attempts, fail_reason: state === "CANCEL" ? "cancelled" : output };
}

/** How fast it goes and how long that takes still, as of when it told its progress. */
function pace(
  { startTime, updateTime }: RunTask,
  { rows = 0, totalRows, pages = 0, totalPages }: Progress,
): Pick<Detail, "rows_per_second" | "seconds_left"> {
  const seconds = startTime ? (Date.parse(updateTime) - Date.parse(startTime)) / 1_000 : 0;
  if (rows === 0 || seconds <= 0) return { rows_per_second: 0, seconds_left: null };
  const part = totalRows ? rows / totalRows : totalPages ? pages / totalPages : undefined;
  return {
    rows_per_second: Math.round(rows / seconds),
    seconds_left: part ? Math.max(0, Math.round(seconds / part - seconds)) : null,
  };
}

/** What a run that succeeded wrote. */
export function readResult(task: RunTask): ExportResult | undefined {
  return task.state === "SUCCESS" ? (JSON.parse(task.output) as ExportResult) : undefined;
}

interface Progress {
  pages?: number;
  totalPages?: number;
  rows?: number;
  totalRows?: number;
  bytes?: number;
}

/** A running task's output is the progress that its job told last. */
function readProgress(task: RunTask): Progress {
  if (task.state !== "PROCEEDING" || task.output === "") return {};
  return JSON.parse(task.output) as Progress;
}

function failReason(task: RunTask): string {
  if (task.state === "FAILURE") return task.output;
  return task.state === "CANCEL" ? "cancelled" : "";
}

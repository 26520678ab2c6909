/** What the workers of this service do with the tasks of its channels. */
import { join } from "node:path";
import { isLoopback, configOf } from "../../lib/config.ts";
import { viewError } from "../../lib/errors.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import type { Job } from "../../mixins/worker.mixin.ts";
import { termsFor } from "./approval.ts";
import type { DataTask } from "./data-task.ts";
import { checked, submitted } from "./data-task.ts";
import { findSource } from "./data-sources.ts";
import { checkWork, runWork } from "./job.ts";
import type { This } from "./progress.service.ts";
import type { ImportDetail } from "./request.ts";
import { workOf } from "./task-work.ts";
import type { DataWork, WorkPlace, WorkProgress, WorkResult } from "./work.ts";

export const CHANNELS = { check: "progress.check", run: "progress.run", cron: "progress.cron" } as const;

/** Where files are put while they are read. */
export function tempDir(dataDir: string): string {
  return join(dataDir, "tmp");
}

/** What the keys of files begin with that tasks made. */
export const FILES = "progress/";

/** The part of a task in the queue that this service reads. */
export interface RunTask {
  hash: string;
  state: string;
  output: string;
  /** Percent. */
  progress: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** A statement may think for as long as it may run; when the server has not ended it by then, it is not there any more. */
const LOST_AFTER_MS = 30_000;
const HEAP_MB = 1_024;
const MAX_FILE_BYTES = 64 * 1024 ** 3;

/** The pre-check: connects, looks at the catalogue, lets the database explain. What it finds is a step of the task. */
export async function checkTask(service: This, job: Job): Promise<string> {
  const { task, told } = await service.tasks.load(job.input);
  if (told.state !== "PRE_CHECK") return "";
  const outcome = await checkOf(service, task, job).catch((error: unknown) => {
    // A node that stops, or a task that was cancelled, says nothing of the work.
    job.signal.throwIfAborted();
    const { type, message } = viewError(error);
    if (type === "INTERNAL") service.logger.error(`the pre-check of task ${task._id} failed`, error);
    return { problem: message };
  });
  await service.change(task._id, (latest) => checked(task, latest, outcome));
  return "problem" in outcome ? outcome.problem : "";
}

async function checkOf(service: This, task: DataTask, job: Job) {
  const work = await prepare(service, task);
  const { rows } = await checkWork(work, placeOf(service, task, job), { signal: job.signal });
  const terms = termsFor(rows, configOf(service.broker), findSource(service.sources, task.dsn));
  // What is allowed to be scheduled is allowed to run.
  return { rows, terms: task.parent === undefined ? terms : { ...terms, mode: "none" as const } };
}

/** The work itself; answers its result in JSON. */
export async function runTask(service: This, job: Job): Promise<string> {
  const { task, told } = await service.tasks.load(job.input);
  const onProgress = (progress: WorkProgress) => {
    const { rows, totalRows = told.rows ?? 0 } = progress;
    // 100 is for what is done, and what was estimated may be less than there is.
    const percent = totalRows > 0 ? Math.min(99, (rows / totalRows) * 100) : 0;
    job.progress(percent, JSON.stringify(progress), { done: rows, total: totalRows });
  };
  const work = await prepare(service, task);
  const result = await runWork(work, placeOf(service, task, job), { signal: job.signal, onProgress });
  onProgress({ rows: result.rows, totalRows: result.rows, bytes: result.bytes });
  return JSON.stringify(result);
}

/** A schedule has come: its run is a task of its own, that needs no further approval. */
export async function submitRun(service: This, job: Job): Promise<string> {
  const { task: parent, told } = await service.tasks.load(job.input);
  if (told.state !== "SCHEDULED") return "";
  const { name, kind, submitter, dsn, sealedDsn, detail } = parent;
  const request = { name, kind, submitter, dsn, ...(sealedDsn && { sealedDsn }), detail, executor: "AUTO" as const };
  // The task in the queue is there once: its id is the run's, however often it is begun.
  const { task } = await service.tasks.create({ ...request, parent: parent._id }, submitted(submitter), runId(job));
  service.attendant.see(task._id);
  return task._id;
}

/** Takes back what a task has made that ended meanwhile in another way. */
export async function removeFiles({ objects }: This, output: string): Promise<void> {
  const { file, report } = JSON.parse(output) as WorkResult;
  for (const key of [file, report]) if (key) await objects.delete(key);
}

/** What the worker of a run told last. */
export function readProgress({ state, output, progress }: RunTask): { progress: number; rows: number; bytes: number } {
  const told = state === "PROCEEDING" && output !== "" ? (JSON.parse(output) as WorkProgress) : { rows: 0, bytes: 0 };
  return { progress, rows: told.rows, bytes: told.bytes };
}

/** Ids of tasks by CRON come from the queue's, far below those that time makes. */
function runId({ id }: Job): string {
  return String(id);
}

async function prepare(service: This, task: DataTask): Promise<DataWork> {
  const config = configOf(service.broker);
  const source = findSource(service.sources, task.dsn);
  const loopback = isLoopback(config.host);
  const upload = task.kind === "IMPORT" ? await claim(service, JSON.parse(task.detail) as ImportDetail) : undefined;
  return workOf(task, {
    dsn: service.dsnOf(task),
    access: {
      // A data source of the operator's may be anywhere.
      outbound: { allowPrivate: loopback || !!source, allow: config.exportAllowHosts, deny: config.exportDenyHosts },
      ...(config.sqliteDirs || !(loopback || source) ? { sqliteDirs: config.sqliteDirs ?? [] } : {}),
      sqliteExcept: [config.dataDir],
      limits: {
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        statementTimeoutMs: config.progressStatementTimeout,
        idleTimeoutMs: config.progressStatementTimeout + LOST_AFTER_MS,
      },
    },
    ...(source && { source }),
    secret: service.signingKey,
    ...(upload && { upload }),
    now: service.tasks.now(),
  });
}

/** From now on nobody but this service removes the uploaded file. */
function claim({ broker }: This, { upload_key: key }: ImportDetail): Promise<{ name: string }> {
  return broker.call<{ name: string }, object>("upload.claim", { key, owner: "progress" });
}

function placeOf({ broker }: This, { _id }: DataTask, { attempt }: Job): WorkPlace {
  const config = configOf(broker);
  return {
    objects: objectsPlace(config),
    object: `${FILES}${_id}.${attempt}`,
    maxFileBytes: MAX_FILE_BYTES,
    minFreeBytes: config.exportMinFree,
    heapMb: HEAP_MB,
    tempDir: tempDir(config.dataDir),
  };
}

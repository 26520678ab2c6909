/**
 * export: paged HTTP sources, or rows in the request, to a file. Every export is a task: this service turns a request into
 * one, works on it, and tells of it in the document's envelope `{errcode, msg, data, request_id}`.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Context, Service, ServiceSchema } from "moleculer";
import { configOf, isLoopback } from "../../lib/config.ts";
import { invalidArgument, LongshoreError, viewError } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { openObjects } from "../../lib/objects/open.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import { signPath, verifyPath } from "../../lib/objects/signed-url.ts";
import { baseUrl } from "../../lib/public-url.ts";
import { rest } from "../../lib/rest-options.ts";
import { signingKey } from "../../lib/signing-key.ts";
import type { OutboundPolicy } from "../../lib/sources/outbound.ts";
import { KeptPages } from "../../lib/sources/kept-pages.ts";
import { EXT_TYPES } from "../../lib/tabular/ext-type.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import type { Job } from "../../mixins/worker.mixin.ts";
import { worker } from "../../mixins/worker.mixin.ts";
import { callbackBody, postCallback } from "./callback.ts";
import { demoPage } from "./demo-page.ts";
import type { ExportProgress, ExportResult } from "./job-spec.ts";
import { EXPORT_LIMITS } from "./job-spec.ts";
import { runExportJob } from "./job.ts";
import { readRawBody } from "./raw-body.ts";
import { readHistoryQuery } from "./history.ts";
import type { ExportHttpMessage } from "./http-message.ts";
import { documentOf } from "./http-message.ts";
import type { RequestLimits } from "./request.ts";
import type { Detail, ExportRun, Link, RunTask } from "./run.ts";
import {
  describeRun,
  detail,
  downloadName,
  fileKey,
  isUnderWay,
  readHttpRun,
  readResult,
  readRun,
  sealRun,
  summaryOf,
  unsealRun,
} from "./run.ts";
import { demandRoom, findRun, listRuns, RUN_CHANNELS, userLabel } from "./runs.ts";

/** What a watch of operations tells; see there. */
interface Change {
  items: unknown[];
  cursor: string;
  done: boolean;
}

interface ExportService {
  objects: ObjectStore;
  signingKey: Buffer;
  limits: RequestLimits;
  outbound: OutboundPolicy;
  sweeping: AbortController;
  submit(ctx: Context, channel: string, run: ExportRun): Promise<RunTask>;
  link(task: RunTask): Link;
  tell(ctx: Context, task: RunTask): Promise<Detail>;
  sweep(signal: AbortSignal): Promise<void>;
}

type This = Service & ExportService;

const RAW_LIMIT = 64 * 1024 * 1024;
/** A node that is not heard of for so long has lost its export. */
const LEASE_SECONDS = 15;
/** After the first; see queues for the back-off. */
const CALLBACK_RETRIES = 4;
const CALLBACKS_AT_ONCE = 8;
const SWEEP_EVERY_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Of the objects in which exports keep the pages that they have read. */
const PAGES = "pages/";
/** Fast, and a sixth larger than level 6: docs/decisions/tabular-writers.md. */
const DEFLATE_LEVEL = 1;

const exportService: ServiceSchema<object, object, object, This> = {
  name: "export",

  mixins: [
    grpc({ proto: "longshore/v1/export.proto", service: "longshore.v1.Exports" }),
    ...RUN_CHANNELS.map((channel) =>
      worker({
        channel,
        leaseSeconds: LEASE_SECONDS,
        concurrency,
        handler: runExport,
        undo: removeFile,
        operation: {
          proto: "longshore/v1/export.proto",
          response: "longshore.v1.ExportResult",
          describe: "describeRuns",
        },
      }),
    ),
    worker({
      channel: "export.callback",
      leaseSeconds: 60,
      concurrency: () => CALLBACKS_AT_ONCE,
      handler: runCallback,
    }),
  ],

  settings: { rest: { errors: { errcode: "$http", msg: "$message", request_id: "$requestId" } } },

  actions: {
    submitHttp: {
      rest: "POST /v1/export/http",
      async handler(this: This, ctx: Context<Record<string, unknown>>) {
        const run = readHttpRun(ctx.params, this.limits, this.signingKey);
        await this.submit(ctx, "export.http", run);
        return answer(ctx, { hash_key: run.hashKey });
      },
    },

    /** The same, answered at once as an operation. */
    exportHttp: {
      async handler(this: This, ctx: Context<ExportHttpMessage>) {
        const run = readHttpRun(documentOf(ctx.params), this.limits, this.signingKey);
        const task = await this.submit(ctx, "export.http", run);
        return ctx.call("operations.getOperation", { name: `operations/${task.hash}` });
      },
    },

    /** What the operations of runs hold. */
    describeRuns: {
      idempotent: true,
      handler(this: This, ctx: Context<{ tasks: RunTask[] }>) {
        return ctx.params.tasks.map((task) => describeRun(task, this.link(task)));
      },
    },

    /** The gateway has put the body into the object store: it is too large to travel. */
    submitRaw: {
      rest: rest({ path: "POST /v1/export/raw", body: "object", limit: RAW_LIMIT }),
      timeout: 60_000,
      async handler(this: This, ctx: Context<{ object: { key: string } }>) {
        const body = ctx.params.object.key;
        try {
          const objects = objectsPlace(configOf(this.broker));
          const { limits, signingKey: secret } = this;
          const raw = await readRawBody(this.objects, { objects, body, limits, secret }, signalOf(ctx));
          const source = { kind: "rows" as const, object: raw.rows };
          await this.submit(ctx, "export.raw", { ...raw.request, hashKey: raw.hashKey, source });
          return answer(ctx, { hash_key: raw.hashKey });
        } finally {
          await this.objects.delete(body);
        }
      },
    },

    detail: {
      rest: "GET /v1/export/detail",
      idempotent: true,
      async handler(this: This, ctx: Context<{ key?: unknown }>) {
        const { key } = ctx.params;
        if (!key) return missing(ctx, "key");
        const task = await findRun(ctx, key);
        return answer(ctx, await this.tell(ctx, task));
      },
    },

    /** Server-sent events: the detail, and again when it has changed, until the export has ended. */
    events: {
      rest: rest({ path: "GET /v1/export/events", response: "events" }),
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(this: This, ctx: Context<{ key?: unknown }>) {
        if (!ctx.params.key) throw invalidArgument("key", "must be given");
        const { hash } = await findRun(ctx, ctx.params.key);
        const change: Change = await ctx.call("operations.watch", { name: `operations/${hash}` });
        const { items, ...rest } = change;
        if (items.length === 0) return change;
        const task = await ctx.call<RunTask, { hash: string }>("queues.get", { hash });
        return { items: [await this.tell(ctx, task)], ...rest };
      },
    },

    history: {
      rest: "GET /v1/export/history",
      idempotent: true,
      async handler(this: This, ctx: Context<Record<string, unknown>>) {
        const user = ctx.params["user_id"] ?? ctx.params["uid"];
        if (!user) return missing(ctx, "user_id");
        const query = readHistoryQuery(ctx.params, Date.now());
        const { runs, next } = await listRuns(ctx, query);
        return { ...answer(ctx, runs), ...(next !== undefined && { next_page_token: next }) };
      },
    },

    /** Stops an export within a second; it leaves no file. One that has ended stays as it is. */
    cancel: {
      rest: "POST /v1/export/cancel",
      async handler(this: This, ctx: Context<{ key?: unknown }>) {
        const { key } = ctx.params;
        if (!key) return missing(ctx, "key");
        const task = await findRun(ctx, key);
        await ctx.call("queues.cancel", { id: task.id });
        return answer(ctx, { hash_key: key });
      },
    },

    /** Checks the link and says which object it stands for; the gateway sends that. */
    download: {
      rest: rest({ path: "GET /v1/down/{name=**}", response: "object" }),
      async handler(this: This, ctx: Context<{ name: string; expires?: string; signature?: string }>) {
        const { name, ...query } = ctx.params;
        const state = verifyPath(downPath(name), query, this.signingKey);
        if (state !== "valid") {
          const problem = state === "expired" ? "the link has expired" : "the link is not one of ours";
          throw new LongshoreError("PERMISSION_DENIED", problem);
        }
        const [hash = ""] = name.split(".");
        const task = await ctx.call<RunTask, { hash: string }>("queues.get", { hash });
        const run = readRun(task);
        const { mime } = EXT_TYPES[run.extType];
        return {
          key: `exports/${name}`,
          fileName: downloadName(run),
          contentType: run.zip ? "application/zip" : mime,
        };
      },
    },

    demoPage: {
      rest: "GET /demo/page",
      handler(this: This, ctx: Context<{ page?: string; limit?: string }>) {
        const { page = "1", limit = "10" } = ctx.params;
        return answer(ctx, demoPage(readCount("page", page), readCount("limit", limit)));
      },
    },
  },

  methods: {
    /** The same request is the same export, unless it failed or was cancelled before. */
    async submit(this: This, ctx: Context, channel: string, run: ExportRun): Promise<RunTask> {
      await demandRoom(ctx, run, configOf(this.broker).exportUserLimit);
      const input = sealRun(run, this.signingKey);
      const params = { key: run.hashKey, channel, input, label: userLabel(run.userId) };
      const { task } = await ctx.call<{ task: RunTask }, object>("queues.createRun", params);
      if (run.callback) {
        // Asked for again after a crash between the two, it is found by its HashCode.
        await ctx.call("queues.create", {
          channel: "export.callback",
          hash: callbackHash(task),
          input: JSON.stringify({ run: task.hash }),
          next: task.id,
          always: true,
          retryMax: CALLBACK_RETRIES,
        });
      }
      return task;
    },

    /** All that is known of a run. */
    async tell(this: This, ctx: Context, task: RunTask): Promise<Detail> {
      const callback = readRun(task).callback
        ? await ctx.call<RunTask, { hash: string }>("queues.get", { hash: callbackHash(task) }).catch(ifMissing)
        : undefined;
      return detail(task, this.link(task).url, callback);
    },

    /** To the file of a run that succeeded, for as long as the file is kept. */
    link(this: This, task: RunTask): Link {
      const result = readResult(task);
      if (!result) return { url: "" };
      const { fileRetentionDays, downloadTtl } = configOf(this.broker);
      const keptUntil = Date.parse(task.endTime ?? task.updateTime) + fileRetentionDays * DAY_MS;
      if (keptUntil <= Date.now()) return { url: "" };
      const expires = new Date(Math.min(keptUntil, Date.now() + downloadTtl));
      const name = result.file.slice("exports/".length);
      return { url: baseUrl(this.broker) + signPath(downPath(name), expires, this.signingKey), expires };
    },

    /** Removes what is no longer kept: files, and bodies whose request came to nothing. */
    async sweep(this: This, signal: AbortSignal): Promise<void> {
      const keep = configOf(this.broker).fileRetentionDays * DAY_MS;
      const ages = { "exports/": keep, "sources/": keep, [PAGES]: keep, "incoming/": DAY_MS };
      while (!signal.aborted) {
        for (const [prefix, age] of Object.entries(ages)) {
          try {
            for await (const { key, modifiedAt } of this.objects.list(prefix)) {
              if (signal.aborted) return;
              if (modifiedAt.getTime() < Date.now() - age) await this.objects.delete(key);
            }
          } catch (error) {
            this.logger.warn(`the old objects under ${prefix} could not be removed`, error);
          }
        }
        const pause = SWEEP_EVERY_MS * (0.75 + Math.random() / 2);
        await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined);
      }
    },
  },

  async started(this: This) {
    const config = configOf(this.broker);
    this.objects = await openObjects(objectsPlace(config));
    this.signingKey = await signingKey(config);
    this.limits = { maxConn: config.exportMaxConn, timestampWindow: config.exportTimestampWindow };
    // A node that serves its own machine alone may read from there; one that others reach must not be their way in.
    this.outbound = {
      allowPrivate: isLoopback(config.host),
      allow: config.exportAllowHosts,
      deny: config.exportDenyHosts,
    };
    this.sweeping = new AbortController();
    void this.sweep(this.sweeping.signal);
  },

  stopped(this: This) {
    this.sweeping?.abort();
  },
};

function concurrency(service: Service): number {
  return configOf(service.broker).exportConcurrency;
}

async function runExport(service: Service, job: Job): Promise<string> {
  const run = unsealRun(job, (service as This).signingKey);
  const { extension } = EXT_TYPES[run.extType];
  const objects = objectsPlace(configOf(service.broker));
  const onProgress = (progress: ExportProgress) => {
    const units = { done: progress.rows, total: progress.totalRows ?? 0 };
    job.progress(percent(progress), JSON.stringify(progress), units);
  };
  const { title, zip, password, rowsPerFile, extType, userId: author } = run;
  const summary = run.summary ? summaryOf(run) : undefined;
  const content = { extType, zip, password, rowsPerFile, title, author, summary };
  const { exportMinFree, exportCheckpoint } = configOf(service.broker);
  const prefix = `${PAGES}${job.hash}.`;
  const result = await runExportJob(
    {
      source: run.source,
      format: { ...content, level: DEFLATE_LEVEL, formulaGuard: true, longText: "fail" },
      object: fileKey(run, job.hash, job.attempt, extension),
      objects,
      outbound: (service as This).outbound,
      limits: { ...EXPORT_LIMITS, minFreeBytes: exportMinFree },
      checkpoint: exportCheckpoint > 0 ? { prefix, everyMs: exportCheckpoint } : undefined,
    },
    { signal: job.signal, onProgress },
  ).finally(() => {
    const removed = removePages(service as This, job, prefix);
    // A node that stops must give the task back at once.
    return job.signal.aborted ? undefined : removed;
  });
  // What the source said of its whole may have been more or less.
  onProgress({ pages: result.pages, rows: result.rows, totalRows: result.rows, bytes: result.bytes });
  return JSON.stringify({ ...result, name: downloadName(run) } satisfies ExportResult);
}

/** Unless another attempt may go on from them: where this one was aborted, but the task has not ended. */
async function removePages({ broker, objects, logger }: This, { hash, signal }: Job, prefix: string): Promise<void> {
  try {
    if (signal.aborted && isUnderWay(await broker.call<RunTask, object>("queues.get", { hash }))) return;
    await KeptPages.remove(objects, prefix);
  } catch (error) {
    logger.warn(`the pages kept under ${prefix} could not be removed`, error);
  }
}

async function removeFile(service: Service, output: string): Promise<void> {
  await (service as This).objects.delete((JSON.parse(output) as ExportResult).file);
}

/** 100 is for what is done. */
function percent({ pages, totalPages }: ExportProgress): number {
  return totalPages ? Math.min(99, (pages / totalPages) * 100) : 0;
}

async function runCallback(service: Service, job: Job): Promise<string> {
  const { run: hash } = JSON.parse(job.input) as { run: string };
  const { broker } = service;
  const task: RunTask = await broker.call("queues.get", { hash }, { signal: job.signal });
  const { callback } = readRun(task);
  const { outbound } = service as This;
  const secret = configOf(broker).exportCallbackSecret;
  await postCallback(callback, callbackBody(task, (service as This).link(task).url), {
    outbound,
    secret,
    signal: job.signal,
  });
  return "delivered";
}

/** Of the task that delivers a run's callback. */
function callbackHash({ hash }: RunTask): string {
  return `${hash}.callback`;
}

/** The task of a callback is made after its run, and may be gone before it. */
function ifMissing(error: unknown): undefined {
  if (viewError(error).type !== "NOT_FOUND") throw error;
}

function answer(ctx: Context, data: unknown): object {
  return { errcode: 0, msg: "", data, request_id: ctx.requestID };
}

/** The document has a code of its own for a query without its parameter. */
function missing(ctx: Context, parameter: string): object {
  (ctx.meta as { $statusCode?: number }).$statusCode = 400;
  return { errcode: 401, msg: `${parameter}: must be given`, data: null, request_id: ctx.requestID };
}

function downPath(name: string): string {
  return `/v1/down/${name}`;
}

function readCount(field: string, value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw invalidArgument(field, "must be a whole number");
  return Number(value);
}

export default exportService;

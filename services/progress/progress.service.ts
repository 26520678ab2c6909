/**
 * progress: work on databases that somebody approves first. This service keeps who wants what and who allowed it; the work
 * is a task in the queue, done in a thread by whichever node takes it.
 */
import { mkdir } from "node:fs/promises";
import type { Context, Service, ServiceSchema } from "moleculer";
import { configOf } from "../../lib/config.ts";
import type { DataSource } from "../../lib/databases/dsn.ts";
import { describeDsn, parseDsn } from "../../lib/databases/dsn.ts";
import { encryptionKeys } from "../../lib/encryption-keys.ts";
import { failedPrecondition, invalidArgument, viewError } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { openObjects } from "../../lib/objects/open.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import { readPageSize } from "../../lib/page-size.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import { baseUrl } from "../../lib/public-url.ts";
import { seal, unsealWith } from "../../lib/sealed.ts";
import { signingKey } from "../../lib/signing-key.ts";
import { Waits } from "../../lib/waits.ts";
import { callScopeOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import type { WithDatastore } from "../../mixins/store.mixin.ts";
import { store } from "../../mixins/store.mixin.ts";
import { worker } from "../../mixins/worker.mixin.ts";
import { checkApprovable } from "./approval.ts";
import { Attendant } from "./attendant.ts";
import type { Draft, Verdict } from "./audit.ts";
import type { DataTask, Told } from "./data-task.ts";
import { approved, cancelled, rejected, started, submitted } from "./data-task.ts";
import type { ConfiguredSource } from "./data-sources.ts";
import { findSource, nameOfSource, readDataSources } from "./data-sources.ts";
import type { Which } from "./download.ts";
import { download, signedPath } from "./download.ts";
import type { Params, Submission } from "./request.ts";
import { checkDetail, line, readDigits, readSubmission } from "./request.ts";
import { restActions } from "./rest-actions.ts";
import type { RunTask } from "./runs.ts";
import { CHANNELS, checkTask, readProgress, removeFiles, runTask, submitRun, tempDir } from "./runs.ts";
import { STATES, hasEnded } from "./states.ts";
import type { Known } from "./task-store.ts";
import { TaskStore } from "./task-store.ts";
import type { Message } from "./wire.ts";
import { DETAIL_MESSAGE, PROTO, detailMessage, idOfHash, runHash, summaryMessage } from "./wire.ts";

export interface ProgressService extends WithDatastore {
  tasks: TaskStore;
  attendant: Attendant;
  objects: ObjectStore;
  sources: ReadonlyMap<string, ConfiguredSource>;
  /** Seal DSNs; see encryptionKeys. */
  keys: readonly Buffer[];
  signingKey: Buffer;
  waits: Waits;
  /** While somebody watches. */
  watching: NodeJS.Timeout | undefined;
  submit(ctx: Context, submission: Submission): Promise<Known>;
  change(id: string, decide: (told: Told, task: DataTask) => Draft | undefined): Promise<Known>;
  detail(known: Known): Promise<Message>;
  link(id: string, which: Which, told: Told): string;
  nextChange(ctx: Context<Params, WatchMeta>, id: string): Promise<Change>;
  dsnOf(task: DataTask): string;
}

export type This = Service & ProgressService;

export interface WatchMeta {
  stream?: { cursor?: unknown };
}

export interface Change {
  items: Message[];
  cursor: unknown;
  done: boolean;
}

/** A node that is not heard of for so long has lost its tasks. */
const LEASE_SECONDS = 30;
const WATCH_MS = 20_000;
const LOOK_MS = 1_000;
const MAX_COMMENT = 1_000;
const DAY_MS = 86_400_000;
/** One message of NATS carries a megabyte. */
const MAX_ANSWER_BYTES = 800_000;
/** A name, a submitter and a DSN at most, and what is short. */
const OTHER_FIELDS_BYTES = 4_000;

const progress: ServiceSchema<object, object, object, This> = {
  name: "progress",

  mixins: [
    store,
    grpc({ proto: PROTO, service: "woxqaq.v1.ProgressService" }),
    worker({
      channel: CHANNELS.check,
      leaseSeconds: LEASE_SECONDS,
      concurrency,
      handler: (service, job) => checkTask(service as This, job),
    }),
    worker({
      channel: CHANNELS.run,
      leaseSeconds: LEASE_SECONDS,
      concurrency,
      handler: (service, job) => runTask(service as This, job),
      undo: (service, output) => removeFiles(service as This, output),
      operation: { proto: PROTO, response: DETAIL_MESSAGE, describe: "describeTasks" },
    }),
    worker({
      channel: CHANNELS.cron,
      leaseSeconds: LEASE_SECONDS,
      concurrency,
      handler: (service, job) => submitRun(service as This, job),
    }),
  ],

  actions: {
    submitTask: {
      async handler(this: This, ctx: Context<Params>) {
        const { task } = await this.submit(ctx, readSubmission(ctx.params));
        return { ok: true, task_id: task._id };
      },
    },

    getTaskDetail: {
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        return this.detail(await this.tasks.load(readDigits(params["task_id"], "task_id")));
      },
    },

    approve: {
      async handler(this: This, { params }: Context<Params>) {
        const { id, actor, comment } = readDecision(params, "APPROVE");
        return this.detail(await this.change(id, (told, task) => approved(task, told, actor, comment)));
      },
    },

    reject: {
      async handler(this: This, { params }: Context<Params>) {
        const { id, actor, comment } = readDecision(params, "REJECT");
        return this.detail(await this.change(id, (told, task) => rejected(task, told, actor, comment)));
      },
    },

    start: {
      async handler(this: This, { params }: Context<Params>) {
        const actor = line(params, "actor");
        if (actor === "") throw invalidArgument("actor", "must be given");
        return this.detail(await this.change(readProgressId(params), (told, task) => started(task, told, actor)));
      },
    },

    cancel: {
      async handler(this: This, ctx: Context<Params>) {
        const id = readProgressId(ctx.params);
        const actor = line(ctx.params, "actor");
        const comment = readComment(ctx.params);
        // Its work may have ended a moment ago.
        await this.attendant.attend(id);
        const known = await this.change(id, (told, task) => cancelled(task, told, actor, comment));
        await this.attendant.attend(id);
        return this.detail(known);
      },
    },

    listTasks: {
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        const submitter = line(params, "submitter");
        const state = readState(params);
        const size = readPageSize(params["page_size"]);
        const query = [state ?? "", submitter];
        const token = String(params["page_token"] ?? "");
        const [id, time] = (readPageToken("page_token", token, query) as [string, string] | undefined) ?? [];
        const after = id === undefined ? undefined : { id, createTime: new Date(time!) };
        const found = await this.tasks.page({ state, submitter }, size + 1, after);
        const page = fitting(found.slice(0, size));
        const last = found.length > page.length ? page.at(-1) : undefined;
        return {
          tasks: page.map(summaryMessage),
          next_page_token: last ? writePageToken(query, [last._id, last.createTime.toISOString()]) : "",
        };
      },
    },

    watchTask: {
      timeout: 0,
      bulkhead: { enabled: false },
      handler(this: This, ctx: Context<Params, WatchMeta>) {
        return this.nextChange(ctx, readDigits(ctx.params["task_id"], "task_id"));
      },
    },

    ...restActions,
    download,

    /** What the operations of runs hold. */
    describeTasks: {
      idempotent: true,
      handler(this: This, ctx: Context<{ tasks: RunTask[] }>) {
        return Promise.all(
          ctx.params.tasks.map(async (run) => {
            const known = await this.tasks.load(idOfHash(run.hash) ?? "").catch(ifMissing);
            if (!known) return {};
            return { message: `${known.told.state}: ${known.task.name}`, response: await this.detail(known) };
          }),
        );
      },
    },

    /** Reads the trail of all tasks and says whether it is whole. */
    verifyTrail: {
      timeout: 600_000,
      handler(this: This): Promise<Verdict> {
        return this.tasks.verify();
      },
    },
  },

  events: {
    /** A hint, from any node: the work of a task has ended. */
    "queues.ended"(this: This, ctx: Context<{ tasks: { hash: string }[] }>) {
      for (const { hash } of ctx.params.tasks) {
        const id = idOfHash(hash);
        if (id !== undefined) this.attendant?.see(id);
      }
    },

    /** A hint, from any node: there is a step more. */
    "progress.changed"(this: This, ctx: Context<{ id: string }>) {
      this.waits?.wake([ctx.params.id]);
    },

    "$node.draining"(this: This) {
      this.waits?.close();
    },
  },

  methods: {
    async submit(this: This, ctx: Context, submission: Submission): Promise<Known> {
      const configured = findSource(this.sources, submission.dsn);
      const source = submission.dsn === "" ? undefined : readSource(submission, configured);
      await checkDetail(submission, source);
      checkApprovable(submission, configOf(this.broker), configured);
      if (submission.schedule) await demandComing(ctx, submission.schedule);
      const { name, kind, submitter, detail, executor, schedule } = submission;
      const known = await this.tasks.create(
        {
          name,
          kind,
          submitter,
          dsn: shownDsn(submission, source),
          ...(source && !configured && { sealedDsn: seal(submission.dsn, this.keys[0]!) }),
          detail: JSON.stringify(detail),
          executor,
          ...(schedule && { schedule }),
        },
        submitted(submitter),
      );
      this.attendant.see(known.task._id);
      return known;
    },

    /** Adds a step, tells of it, and sees to what follows from it. */
    async change(this: This, id, decide): Promise<Known> {
      const { known, changed } = await this.tasks.change(id, decide);
      if (changed) {
        this.broker.broadcast("progress.changed", { id }).catch(() => undefined);
        this.attendant.see(id);
      }
      return known;
    },

    async detail(this: This, { task, told, steps }: Known): Promise<Message> {
      const { _id: id, schedule } = task;
      const run =
        told.state === "RUNNING"
          ? await this.broker.call<RunTask, object>("queues.get", { hash: runHash(id) }).catch(ifMissing)
          : undefined;
      const nextTime =
        told.state === "SCHEDULED" ? await this.broker.call<string, object>("queues.nextTime", schedule!) : undefined;
      return detailMessage(task, told, steps, {
        url: this.link(id, "file", told),
        reportUrl: this.link(id, "report", told),
        ...(run && { running: readProgress(run) }),
        ...(nextTime !== undefined && { nextTime }),
      });
    },

    /** Empty where there is no such file, or none any more. */
    link(this: This, id, which, { result, updateTime }): string {
      const key = which === "file" ? result?.file : result?.report;
      const { fileRetentionDays, downloadTtl } = configOf(this.broker);
      const keptUntil = updateTime.getTime() + fileRetentionDays * DAY_MS;
      if (!key || keptUntil <= Date.now()) return "";
      const expires = new Date(Math.min(keptUntil, Date.now() + downloadTtl));
      return baseUrl(this.broker) + signedPath(id, which, expires, this.signingKey);
    },

    /** The detail, once it is not the one that the client has; nothing where it stays that for long. */
    async nextChange(this: This, ctx: Context<Params, WatchMeta>, id): Promise<Change> {
      const had = ctx.meta.stream?.cursor;
      let message: Message = {};
      let cursor = "";
      let done = false;
      // What its worker says is told to nobody: it is looked at.
      this.watching ??= setInterval(() => this.waits.wake(this.waits.hashes), LOOK_MS);
      await this.waits.until(id, WATCH_MS, callScopeOf(ctx), async () => {
        const known = await this.tasks.load(id);
        message = await this.detail(known);
        done = hasEnded(known.told.state);
        cursor = `${known.told.version}.${String(message["rows"])}.${String(message["progress"])}`;
        return cursor !== had || done;
      });
      if (this.waits.hashes.length === 0) {
        clearInterval(this.watching);
        this.watching = undefined;
      }
      return { items: cursor === had ? [] : [message], cursor, done };
    },

    dsnOf(this: This, { dsn, sealedDsn }: DataTask): string {
      const configured = findSource(this.sources, dsn);
      if (configured) return configured.dsn;
      const opened = sealedDsn === undefined ? "" : unsealWith(sealedDsn, this.keys);
      if (opened === undefined) {
        throw failedPrecondition("the data source was sealed with a key that is not in ENCRYPTION_KEYS");
      }
      return opened;
    },
  },

  async started(this: This) {
    const config = configOf(this.broker);
    this.keys = await encryptionKeys(config);
    this.signingKey = await signingKey(config);
    this.sources = await readDataSources(config.dataSourcesFile, this.keys);
    this.objects = await openObjects(objectsPlace(config));
    await mkdir(tempDir(config.dataDir), { recursive: true, mode: 0o700 });
    this.tasks = await TaskStore.open(this.datastore);
    this.waits = new Waits();
    this.attendant = new Attendant(this);
    this.attendant.start();
  },

  async stopped(this: This) {
    clearInterval(this.watching);
    await this.attendant?.stop();
  },
};

function concurrency(service: Service): number {
  return configOf(service.broker).progressConcurrency;
}

function readSource({ dsn }: Submission, configured: ConfiguredSource | undefined): DataSource {
  return parseDsn(configured?.dsn ?? dsn);
}

function shownDsn({ dsn }: Submission, source: DataSource | undefined): string {
  if (!source) return "";
  return nameOfSource(dsn) === undefined ? describeDsn(source) : dsn;
}

/** As many of them as one message between nodes holds, at least one. */
function fitting(tasks: DataTask[]): DataTask[] {
  let bytes = 0;
  const end = tasks.findIndex(
    ({ detail }, index) => (bytes += OTHER_FIELDS_BYTES + Buffer.byteLength(detail)) > MAX_ANSWER_BYTES && index > 0,
  );
  return end < 0 ? tasks : tasks.slice(0, end);
}

async function demandComing(ctx: Context, schedule: { cron: string; timeZone: string }): Promise<void> {
  try {
    await ctx.call("queues.nextTime", schedule);
  } catch (error) {
    const { type, message, data } = viewError(error);
    if (type !== "INVALID_ARGUMENT") throw error;
    const field = data.field === "Schedule.TimeZone" ? "time_zone" : "cron";
    throw invalidArgument(field, message.replace(/^[\w.]+: /, ""));
  }
}

function readProgressId(params: Params): string {
  return readDigits(params["progress_id"], "progress_id");
}

function readDecision(params: Params, option: "APPROVE" | "REJECT"): { id: string; actor: string; comment: string } {
  const given = line(params, "option");
  if (given !== "" && given.toUpperCase() !== option) throw invalidArgument("option", `must be ${option} or empty`);
  return { id: readProgressId(params), actor: line(params, "approver"), comment: readComment(params) };
}

function readComment(params: Params): string {
  const value = params["comment"] ?? "";
  if (typeof value !== "string" || value.length > MAX_COMMENT) {
    throw invalidArgument("comment", `must be text of at most ${MAX_COMMENT} characters`);
  }
  return value;
}

function readState(params: Params) {
  const value = params["state"] ?? "";
  if (value === "") return undefined;
  const state = STATES.find((each) => each === value);
  if (!state) throw invalidArgument("state", `must be one of ${STATES.join(", ")}`);
  return state;
}

function ifMissing(error: unknown): undefined {
  if (viewError(error).type !== "NOT_FOUND") throw error;
}

export default progress;

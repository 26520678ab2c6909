/** What longshore.v1.Queues adds on tasks, in gRPC and REST: many a call, queries, logs, and those that failed for good. */
import type { ActionSchema, Service } from "moleculer";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import { rest } from "../../lib/rest-options.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { answerEach, MAX_BATCH, readBatch } from "./batch.ts";
import type { QueuesService } from "./queues.service.ts";
import { receive, refuseInternal, refuseOurs, reportAll, requestOf } from "./standard.ts";
import { checkChannel } from "./task-request.ts";
import type { TaskFilter, TaskPage, TaskPlace } from "./task-queries.ts";
import type { PublicState } from "./task.ts";
import type { Params, StandardContext } from "./wire.ts";
import {
  done,
  readCount,
  readID,
  readMessage,
  readPageSize,
  readTags,
  readText,
  readTime,
  readUint64,
  workerOf,
  writeTask,
} from "./wire.ts";

type This = Service & QueuesService;

const MAX_WAIT_SECONDS = 300;
const STATES: PublicState[] = ["WAITING", "PROCEEDING", "SUCCESS", "FAILURE", "CANCEL"];
const FILTER_FIELDS = new Set(["Owner", "Tags", "EndedFrom", "EndedBefore"]);

export const taskActions = {
  createTasks: {
    rest: "POST /v1/queues/tasks:batchCreate",
    async handler(this: This, ctx: StandardContext) {
      const tasks = readBatch("Tasks", ctx.params.Tasks);
      return done({ Data: await answerEach(this, tasks, (task) => createOne(this, task)) });
    },
  },

  /** The creates that have come in on one stream. */
  createStreamed: {
    async handler(this: This, ctx: StandardContext) {
      const items = ctx.params.items as Params[];
      return { items: await answerEach(this, items, ({ Task }) => createOne(this, Task)) };
    },
  },

  /** Long poll: answers when there is a task, or nothing after the wait. */
  receiveTasks: {
    rest: rest({ path: "POST /v1/queues/channels/{Channel}:receive", headers: ["x-worker-id"] }),
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: StandardContext) {
      // In REST they have short names.
      const { wait, max } = ctx.params;
      const seconds =
        wait === undefined
          ? readCount("WaitSeconds", ctx.params.WaitSeconds, 0, MAX_WAIT_SECONDS)
          : readCount("wait", wait, 0, MAX_WAIT_SECONDS);
      const most =
        max === undefined ? readCount("Max", ctx.params.Max, 0, MAX_BATCH) || 1 : readCount("max", max, 1, MAX_BATCH);
      const holder = workerOf(ctx) ?? `call-${ctx.id}`;
      const tasks = await receive(this, ctx, { max: most, waitMs: seconds * 1_000, holder });
      return done({ Data: tasks.map(writeTask) });
    },
  },

  reportTasks: {
    rest: rest({ path: "POST /v1/queues/tasks:batchReport", headers: ["x-worker-id"] }),
    async handler(this: This, ctx: StandardContext) {
      const reports = readBatch("Reports", ctx.params.Reports);
      return done({ Data: await reportAll(this, reports, workerOf(ctx)) });
    },
  },

  queryTasks: {
    rest: "GET /v1/queues/tasks:query",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const { params } = ctx;
      const tags = readTags("Tags", params.Tags ?? tagsOfQuery(params));
      if (Object.keys(tags).length === 0) throw invalidArgument("Tags", "must be given, one at least");
      const filter: TaskFilter = { tags };
      const channel = readText("Channel", params.Channel);
      if (channel) filter.channel = channel;
      const state = readText("State", params.State);
      if (state) filter.state = readState(state);
      return answerPage(params, filter, (size, after) => this.tasks.queries.byTags(filter, size, after));
    },
  },

  queryTaskLogs: {
    rest: "GET /v1/queues/tasks/{ID}/logs",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const id = readID(ctx.params.ID);
      const after = Number(readUint64("After", ctx.params.After));
      const lines = await this.tasks.logs(id, after);
      if (lines.length === 0 && !(await this.tasks.get(id))) throw notFound(`ID: there is no task ${id}`);
      return done({
        Data: lines.map(({ number, time, text }) => ({ Number: String(number), Time: time.toISOString(), Text: text })),
      });
    },
  },

  queryDeadLetters: {
    rest: "GET /v1/queues/channels/{Channel}/dead-letters",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const { params } = ctx;
      const filter = readDeadLetterFilter(params.Channel, params.Filter ?? filterOfQuery(params));
      return answerPage(params, filter, (size, after) => this.tasks.queries.failed(filter, size, after));
    },
  },

  redriveTasks: {
    rest: ["POST /v1/queues/tasks/{ID}:redrive", "POST /v1/queues/channels/{Channel}:redrive"],
    timeout: 0,
    async handler(this: This, ctx: StandardContext) {
      const { ID, Channel, Filter } = ctx.params;
      const id = readUint64("ID", ID);
      if (id === "0") {
        const filter = readDeadLetterFilter(Channel, Filter ?? {});
        refuseInternal(this, "Channel", filter.channel ?? "");
        return done({ Data: String(await this.tasks.sweeps.redriveAll(filter, signalOf(ctx))) });
      }
      if (readText("Channel", Channel) !== "") throw invalidArgument("Channel", "must not be given together with ID");
      await this.tasks.sweeps.redrive(readID(id), refuseOurs);
      return done({ Data: "1" });
    },
  },

  purgeChannel: {
    rest: "POST /v1/queues/channels/{Channel}:purge",
    timeout: 0,
    async handler(this: This, ctx: StandardContext) {
      const channel = readText("Channel", ctx.params.Channel);
      checkChannel("Channel", channel);
      refuseInternal(this, "Channel", channel);
      return done({ Data: String(await this.tasks.sweeps.purge(channel, signalOf(ctx))) });
    },
  },
} satisfies Record<string, ActionSchema<This>>;

async function createOne(service: This, message: unknown): Promise<Params> {
  const { task } = await service.tasks.create(requestOf(service, message));
  return { Data: task.hash };
}

function readState(state: string): PublicState {
  const known = STATES.find((name) => name === state);
  if (!known) throw invalidArgument("State", `must be one of ${STATES.join(", ")}`);
  return known;
}

function readDeadLetterFilter(channel: unknown, message: unknown): TaskFilter {
  const name = readText("Channel", channel);
  checkChannel("Channel", name);
  const filter: TaskFilter = { channel: name };
  const { Owner, Tags, EndedFrom, EndedBefore } = readMessage("Filter", message ?? {}, FILTER_FIELDS);
  if (Owner !== undefined && Owner !== null) filter.owner = readUint64("Filter.Owner", Owner);
  if (Tags) filter.tags = readTags("Filter.Tags", Tags);
  if (EndedFrom) filter.endedFrom = readTime("Filter.EndedFrom", EndedFrom);
  if (EndedBefore) filter.endedBefore = readTime("Filter.EndedBefore", EndedBefore);
  return filter;
}

/** Maps have no form in a query but this: `?Tags.NAME=VALUE`. */
function tagsOfQuery(params: Params, prefix = "Tags."): Params {
  const entries = Object.entries(params).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length), value]));
}

function filterOfQuery(params: Params): Params {
  const fields = Object.entries(params).filter(
    ([name]) => name.startsWith("Filter.") && !name.startsWith("Filter.Tags."),
  );
  const filter: Params = Object.fromEntries(fields.map(([name, value]) => [name.slice("Filter.".length), value]));
  return { ...filter, Tags: tagsOfQuery(params, "Filter.Tags.") };
}

/** One page of tasks; a task's place is a time and its ID. */
async function answerPage(
  params: Params,
  query: TaskFilter,
  read: (size: number, after: TaskPlace | undefined) => Promise<TaskPage>,
) {
  const size = readPageSize(params);
  const position = readPageToken("PageToken", readText("PageToken", params.PageToken), query);
  const after = position ? { _id: Number(position[0]), time: new Date(position[1] ?? 0) } : undefined;
  const { tasks, next } = await read(size, after);
  const token = next ? writePageToken(query, [next._id, next.time.getTime()]) : "";
  return done({ Data: tasks.map(writeTask), NextPageToken: token });
}

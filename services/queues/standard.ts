/**
 * The contract standard.Queues, in gRPC and REST: the document's PascalCase messages to tasks and back. What is refused goes
 * out as State and Message by the gateway, from the error that is thrown here.
 */
import type { ActionSchema, Context, Service } from "moleculer";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import { rest } from "../../lib/rest-options.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { answerEach, MAX_BATCH, outcomeOfEach } from "./batch.ts";
import type { QueuesService } from "./queues.service.ts";
import { checkChannel, checkHash, checkLeaseSeconds, type TaskRequest } from "./task-request.ts";
import type { Task } from "./task.ts";
import { DEFAULT_LEASE_SECONDS, report } from "./task.ts";
import type { Params, StandardContext } from "./wire.ts";
import { done, readID, readMessage, readReport, readTask, readText, readUint64, workerOf, writeTask } from "./wire.ts";

/** A gRPC receiver asks again after this; its stream stays. */
const STREAM_WAIT_MS = 60_000;

type This = Service & QueuesService;

/** What the gateway tells of the end of a receive stream. */
interface ReceiveStreamEnd {
  id: string;
  reason: "completed" | "broken" | "failed";
  /** The numbers of receives whose answers have not reached the client. */
  underWay?: number[];
}

export const standardActions = {
  "standard.createTask": {
    rest: "POST /v1/queues/tasks",
    async handler(this: This, ctx: StandardContext) {
      const { task } = await this.tasks.create(requestOf(this, ctx.params.Task));
      return done({ Data: task.hash });
    },
  },

  /** CreateTask calls that have come in together. */
  "standard.createTasksTogether": {
    async handler(this: This, ctx: StandardContext) {
      const create = async ({ Task }: Params) => ({ Data: (await this.tasks.create(requestOf(this, Task))).task.hash });
      return { outcomes: await outcomeOfEach(this, ctx.requestID, ctx.params.items as Params[], create) };
    },
  },

  "standard.queryTaskByID": {
    rest: "GET /v1/queues/tasks/{ID}",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      return done({ Data: writeTask(await existing(this, ctx.params.ID)) });
    },
  },

  "standard.cancelTaskByID": {
    rest: "POST /v1/queues/tasks/{ID}:cancel",
    async handler(this: This, ctx: StandardContext) {
      const task = await existing(this, ctx.params.ID);
      const cancelled = await this.cancelTask(task._id);
      return done({
        Data: (await this.tasks.many(cancelled.map(({ _id }) => _id))).map(writeTask),
      });
    },
  },

  "standard.queryTaskByOwner": {
    rest: "GET /v1/queues/tasks",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const { params } = ctx;
      const owner = readUint64("Owner", params.Owner ?? params.owner);
      const limit = Number(readUint64("Limit", params.Limit ?? params.limit)) || 100;
      const offset = Math.min(Number(readUint64("Offset", params.Offset ?? params.offset)), Number.MAX_SAFE_INTEGER);
      const { tasks, total } = await this.tasks.listByOwner(owner, Math.min(limit, 1_000), offset);
      return done({ Total: String(total), Data: tasks.map(writeTask) });
    },
  },

  "standard.queryTaskByHashCode": {
    rest: "GET /v1/queues/tasks/by-hash/{HashCode}",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const hash = readText("HashCode", ctx.params.HashCode);
      checkHash("HashCode", hash);
      const task = await this.tasks.findByHash(hash);
      if (!task) throw notFound(`HashCode: there is no task ${hash}`);
      return done({ Data: writeTask(task) });
    },
  },

  "standard.queryLengthByChannel": {
    rest: "GET /v1/queues/channels/{Channel}/length",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const channel = readText("Channel", ctx.params.Channel);
      checkChannel("Channel", channel);
      return done({ Data: String(await this.tasks.waiting(channel)) });
    },
  },

  "standard.reportTaskResult": {
    rest: rest({ path: "POST /v1/queues/tasks/{ID}:report", headers: ["x-worker-id"] }),
    async handler(this: This, ctx: StandardContext) {
      return done(await reportOne(this, ctx.params, workerOf(ctx)));
    },
  },

  /** The reports that have come in on one stream. */
  "standard.reportTaskResults": {
    async handler(this: This, ctx: StandardContext) {
      return { items: await reportAll(this, ctx.params.items as Params[], workerOf(ctx)) };
    },
  },

  "standard.releaseTask": {
    rest: rest({ path: "POST /v1/queues/tasks/{ID}:release", headers: ["x-worker-id"] }),
    async handler(this: This, ctx: StandardContext) {
      const id = readID(ctx.params.ID);
      const worker = workerOf(ctx);
      await this.tasks.change(id, (task, now) => {
        refuseOurs(task);
        return report(task, { state: "READY", output: "", worker }, now);
      });
      return done({ Data: String(id) });
    },
  },

  /** The credits of one stream and channel; the gateway calls again while credits are left. */
  "standard.receiveQueueByChannel": {
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: StandardContext) {
      const { id: stream, call } = ctx.meta.stream ?? { id: ctx.id };
      const max = Math.min(Number(ctx.params.max ?? 1), MAX_BATCH);
      const notices = ctx.params.Notices === true ? { notices: true as const } : {};
      const holder = workerOf(ctx) ?? stream;
      const tasks = await receive(this, ctx, { max, waitMs: STREAM_WAIT_MS, holder, stream, call, ...notices });
      return { items: tasks.map((task) => ({ Tasks: writeTask(task) })) };
    },
  },

  /** A receive stream has ended: broken, or half-closed by a worker that still reports on what it has. */
  "standard.closeReceiveStream": {
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: Context<ReceiveStreamEnd>) {
      const { id, reason, underWay = [] } = ctx.params;
      if (reason === "broken") await this.loseStream(id);
      else if (reason === "failed") await this.takeBack(id, underWay);
      else await this.drainStream(id, signalOf(ctx));
    },
  },
} satisfies Record<string, ActionSchema<This>>;

/** Reports in their order, each answered on its own. */
export function reportAll(service: This, reports: Params[], worker: string | undefined): Promise<Params[]> {
  const work = (item: Params) => reportOne(service, readMessage("Report", item), worker);
  // Who sent many must see which one was refused.
  return answerEach(service, reports, work, (item) => ({ Data: item?.ID }));
}

async function reportOne(service: This, params: Params, worker: string | undefined): Promise<Params> {
  const id = readID(params.ID);
  const { said, logs } = readReport(params, worker);
  await service.tasks.report(id, said, logs, refuseOurs);
  return { Data: String(id) };
}

/** What a receiver asks for, its channel and lease apart. */
interface Receiving {
  max: number;
  waitMs: number;
  holder: string;
  stream?: string;
  call?: number;
  notices?: true;
}

/** Tasks for a client's worker; none where there was none in time. */
export async function receive(service: This, ctx: StandardContext, receiving: Receiving): Promise<Task[]> {
  const channel = readText("Channel", ctx.params.Channel);
  checkChannel("Channel", channel);
  refuseInternal(service, "Channel", channel);
  const lease = Number(readUint64("LeaseSeconds", ctx.params.LeaseSeconds)) || DEFAULT_LEASE_SECONDS;
  checkLeaseSeconds("LeaseSeconds", lease);
  const signal = signalOf(ctx);
  const tasks = await service.dispatcher.receive({ ...receiving, channel, leaseMs: lease * 1_000, signal });
  const internal = tasks.find((task) => task.internal);
  if ((signal.aborted || internal) && tasks.length) await service.giveBackTasks(tasks);
  // While no node offers the service, its channel is not known for what it is.
  if (internal) throw channelOfOurs("Channel", channel);
  return tasks;
}

async function existing(service: This, value: unknown): Promise<Task> {
  const id = readID(value);
  const task = await service.tasks.get(id);
  if (!task) throw notFound(`ID: there is no task ${id}`);
  return task;
}

/** Jobs of Longshore's own are made and worked on by its services alone; anyone may look at them and cancel them. */
export function refuseInternal(service: This, field: string, channel: string): void {
  if (service.isInternal(channel)) throw channelOfOurs(field, channel);
}

export function refuseOurs(task: Task): void {
  if (task.internal) throw channelOfOurs("ID", task.channel);
}

export function channelOfOurs(field: string, channel: string): Error {
  return invalidArgument(field, `channel ${channel} belongs to a service of Longshore`);
}

/** A request for a task of a client's. */
export function requestOf(service: This, message: unknown): TaskRequest {
  const request = readTask(message);
  refuseInternal(service, "Task.Channel", request.channel);
  return request;
}

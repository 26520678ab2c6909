/**
 * The contract standard.Queues, in gRPC and REST: the document's PascalCase messages to tasks and back. What is refused goes
 * out as State and Message by the gateway, from the error that is thrown here.
 */
import type { ActionSchema, Context, Service } from "moleculer";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import { rest } from "../../lib/rest-options.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import type { QueuesService } from "./queues.service.ts";
import type { ReportState, Task } from "./task.ts";
import { checkChannel, checkHash, checkLeaseSeconds, DEFAULT_LEASE_SECONDS, publicState, report } from "./task.ts";

/** How an error is told in this contract. */
export const STANDARD_ERRORS = { State: "$httpText", Message: "$message" };

const UINT64_MAX = 2n ** 64n - 1n;
/** A gRPC receiver asks again after this; its stream stays. */
const STREAM_WAIT_MS = 20_000;
const MAX_WAIT_SECONDS = 300;
const MAX_RECEIVE = 1_000;
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
]);

/** ReportTaskResultRequest.State. */
const REPORT_STATES: Record<string, ReportState> = {
  1: "SUCCESS",
  2: "FAILURE",
  4: "CANCEL",
  5: "READY",
  6: "RUNNING",
};

interface Meta {
  stream?: { id: string };
  /** Metadata of a gRPC call. */
  grpc?: Record<string, string | undefined>;
  /** Headers of an HTTP request. */
  headers?: Record<string, string | undefined>;
}

type Params = Record<string, unknown>;
type StandardContext = Context<Params, Meta>;
type This = Service & QueuesService;

export const standardActions = {
  "standard.createTask": {
    rest: "POST /v1/queues/tasks",
    async handler(this: This, ctx: StandardContext) {
      const { task } = await this.tasks.create(readTask(this, ctx.params.Task));
      return done({ Data: task.hash });
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

  /** One report; the gateway calls it for each message of the stream. */
  "standard.reportTaskResult": {
    rest: rest({ path: "POST /v1/queues/tasks/{ID}:report", headers: ["x-worker-id"] }),
    async handler(this: This, ctx: StandardContext) {
      const id = readID(ctx.params.ID);
      const said = readReport(ctx);
      await this.tasks.change(id, (task, now) => {
        refuseOurs(task);
        return report(task, said, now);
      });
      return done({ Data: String(id) });
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

  /** Long poll: answers when there is a task, or nothing after `wait` seconds. */
  "standard.receiveTasks": {
    rest: rest({ path: "POST /v1/queues/channels/{Channel}:receive", headers: ["x-worker-id"] }),
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: StandardContext) {
      const wait = readCount("wait", ctx.params.wait, 0, MAX_WAIT_SECONDS);
      const max = readCount("max", ctx.params.max ?? 1, 1, MAX_RECEIVE);
      const tasks = await receive(this, ctx, max, wait * 1_000, workerOf(ctx) ?? `rest-${ctx.id}`);
      return done({ Data: tasks.map(writeTask) });
    },
  },

  /** The credits of one stream and channel; the gateway calls again while credits are left. */
  "standard.receiveQueueByChannel": {
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: StandardContext) {
      const stream = ctx.meta.stream?.id ?? ctx.id;
      const max = Math.min(Number(ctx.params.max ?? 1), MAX_RECEIVE);
      const tasks = await receive(this, ctx, max, STREAM_WAIT_MS, workerOf(ctx) ?? stream, stream);
      return { items: tasks.map((task) => ({ Tasks: writeTask(task) })) };
    },
  },

  /** A receive stream has ended: broken, or half-closed by a worker that still reports on what it has. */
  "standard.closeReceiveStream": {
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: Context<{ id: string; reason: "completed" | "broken" }>) {
      if (ctx.params.reason === "broken") await this.loseStream(ctx.params.id);
      else await this.drainStream(ctx.params.id, signalOf(ctx));
    },
  },
} satisfies Record<string, ActionSchema<This>>;

async function receive(
  service: This,
  ctx: StandardContext,
  max: number,
  waitMs: number,
  holder: string,
  stream?: string,
): Promise<Task[]> {
  const channel = readText("Channel", ctx.params.Channel);
  checkChannel("Channel", channel);
  refuseInternal(service, "Channel", channel);
  const lease = Number(readUint64("LeaseSeconds", ctx.params.LeaseSeconds)) || DEFAULT_LEASE_SECONDS;
  checkLeaseSeconds("LeaseSeconds", lease);
  const signal = signalOf(ctx);
  const tasks = await service.dispatcher.receive({
    channel,
    max,
    waitMs,
    holder,
    stream,
    leaseMs: lease * 1_000,
    signal,
  });
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
function refuseInternal(service: This, field: string, channel: string): void {
  if (service.isInternal(channel)) throw channelOfOurs(field, channel);
}

function refuseOurs(task: Task): void {
  if (task.internal) throw channelOfOurs("ID", task.channel);
}

function channelOfOurs(field: string, channel: string): Error {
  return invalidArgument(field, `channel ${channel} belongs to a service of Longshore`);
}

function done<T extends object>(fields: T): { State: string; Message: string } & T {
  return { State: "200", Message: "", ...fields };
}

function workerOf(ctx: StandardContext): string | undefined {
  const worker = (ctx.meta.grpc ?? ctx.meta.headers)?.["x-worker-id"];
  if (worker !== undefined && (worker === "" || worker.length > 256)) {
    throw invalidArgument("x-worker-id", "must be 1 to 256 characters");
  }
  return worker;
}

function readTask(service: This, value: unknown) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument("Task", "must be given, as a message");
  }
  const task = value as Params;
  const stranger = Object.keys(task).find((name) => !TASK_FIELDS.has(name));
  if (stranger) throw invalidArgument(`Task.${stranger}`, "there is no such field");
  const channel = readText("Task.Channel", task.Channel);
  refuseInternal(service, "Task.Channel", channel);
  const next = readUint64("Task.Next", task.Next);
  if (Number(next) > Number.MAX_SAFE_INTEGER) throw invalidArgument("Task.Next", `there is no task ${next}`);
  const retryMax = Number(readUint64("Task.RetryMaxLimit", task.RetryMaxLimit));
  if (retryMax > Number.MAX_SAFE_INTEGER) throw invalidArgument("Task.RetryMaxLimit", "must be less than 2^53");
  return {
    channel,
    owner: readUint64("Task.Owner", task.Owner),
    hash: readText("Task.HashCode", task.HashCode),
    input: readText("Task.Input", task.Input),
    next: Number(next),
    retryMax,
  };
}

function readReport(ctx: StandardContext) {
  const { State, Output, Progress } = ctx.params;
  const number = readUint64("State", State);
  const state = REPORT_STATES[number];
  if (!state) {
    throw invalidArgument("State", `must be 1 SUCCESS, 2 FAILURE, 4 CANCEL, 5 WAITING or 6 PROCEEDING, not ${number}`);
  }
  const progress = Number(readUint64("Progress", Progress));
  return { state, output: readText("Output", Output), progress, worker: workerOf(ctx) };
}

function writeTask(task: Task) {
  // What a job of Longshore's own was asked to do may hold its user's credentials.
  const input = task.internal ? "" : task.input;
  return {
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
}

function readText(field: string, value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw invalidArgument(field, "must be a string");
  return value;
}

/** A uint64 in decimal, from text or a number; "0" where there is none. */
function readUint64(field: string, value: unknown): string {
  if (value === undefined || value === null || value === "") return "0";
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) {
    const number = BigInt(value);
    if (number <= UINT64_MAX) return String(number);
  }
  throw invalidArgument(field, "must be an unsigned 64-bit integer, as a number or as text");
}

function readID(value: unknown): number {
  const text = readUint64("ID", value);
  const id = Number(text);
  if (id === 0) throw invalidArgument("ID", "must be given");
  // IDs that large are never assigned.
  if (!Number.isSafeInteger(id)) throw notFound(`ID: there is no task ${text}`);
  return id;
}

function readCount(field: string, value: unknown, min: number, max: number): number {
  const count = Number(readUint64(field, value));
  if (count < min || count > max) throw invalidArgument(field, `must be ${min} to ${max}`);
  return count;
}

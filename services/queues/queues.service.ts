/**
 * queues: the durable task queue. Clients know it by the contract in standard.ts; the other services by the actions here,
 * which speak of tasks as task.ts does.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Context, Service, ServiceSchema } from "moleculer";
import { configOf } from "../../lib/config.ts";
import { invalidArgument, notFound } from "../../lib/errors.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import type { StreamMessage } from "../../mixins/grpc.mixin.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import type { WithDatastore } from "../../mixins/store.mixin.ts";
import { store } from "../../mixins/store.mixin.ts";
import type { WorkerSettings } from "../../mixins/worker.mixin.ts";
import { channelActions } from "./channel-actions.ts";
import { ChannelStatistics } from "./channel-statistics.ts";
import { Channels } from "./channels.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Reaper } from "./reaper.ts";
import { scheduleActions } from "./schedule-actions.ts";
import { Schedules } from "./schedules.ts";
import { refuseInternal, standardActions } from "./standard.ts";
import type { Changed } from "./task-changes.ts";
import { taskActions } from "./task-actions.ts";
import type { TaskSearch } from "./task-queries.ts";
import type { TaskListener } from "./task-store.ts";
import { TaskStore } from "./task-store.ts";
import type { TaskRequest } from "./task-request.ts";
import type { Report, Task, TaskView } from "./task.ts";
import { cancel, forget, giveBack, isEnded, lose, publicState, report, viewTask } from "./task.ts";
import { STANDARD_ERRORS } from "./wire.ts";

export interface QueuesService extends WithDatastore {
  tasks: TaskStore;
  dispatcher: Dispatcher;
  reaper: Reaper;
  channels: Channels;
  statistics: ChannelStatistics;
  schedules: Schedules;
  maxLost: number;
  /** The channels that services of Longshore work on, on whatever node. */
  internalChannels: Set<string>;
  isInternal(channel: string): boolean;
  findInternalChannels(): void;
  cancelTask(id: number): Promise<Task[]>;
  giveBackTasks(tasks: Task[]): Promise<void>;
  loseStream(stream: string): Promise<void>;
  takeBack(stream: string, underWay: number[]): Promise<void>;
  drainStream(stream: string, signal: AbortSignal): Promise<void>;
  tellStopped(tasks: Task[]): void;
  broadcast(event: string, payload: unknown): void;
}

type This = Service & QueuesService;

/** Told to all nodes when tasks have ended. */
export interface TasksEnded {
  tasks: Pick<TaskView, "id" | "hash" | "channel" | "state">[];
}

/** Where a page of a search ends. */
type SearchPlace = Pick<TaskView, "id" | "createTime">;

interface SearchParams extends TaskSearch {
  size: number;
  after?: SearchPlace;
}

interface ListParams {
  label: string;
  since: string;
  after?: Pick<TaskView, "id" | "createTime">;
}

/** A half-closed stream stays this long for a worker that has yet to report. */
const DRAIN_STREAM_MS = 10_000;
const STREAM_BATCH = 500;

const queues: ServiceSchema<object, object, object, This> = {
  name: "queues",

  mixins: [
    store,
    grpc({
      proto: "standard/standard.proto",
      service: "standard.Queues",
      errors: STANDARD_ERRORS,
      methods: {
        CreateTask: { action: "standard.createTasksTogether", together: true },
        QueryTaskByID: "standard.queryTaskByID",
        CancelTaskByID: "standard.cancelTaskByID",
        QueryTaskByOwner: "standard.queryTaskByOwner",
        QueryTaskByHashCode: "standard.queryTaskByHashCode",
        QueryLengthByChannel: "standard.queryLengthByChannel",
        ReportTaskResult: {
          action: "standard.reportTaskResults",
          stream: "batch",
          key: "ID",
          inFlight: 256,
          errors: { ...STANDARD_ERRORS, Data: "$request.ID" },
        },
        ReceiveQueueByChannel: {
          action: "standard.receiveQueueByChannel",
          stream: "credit",
          key: "Channel",
          close: "standard.closeReceiveStream",
        },
      },
    }),
    grpc({
      proto: "longshore/v1/queues.proto",
      service: "longshore.v1.Queues",
      errors: STANDARD_ERRORS,
      methods: { StreamCreateTask: { action: "createStreamed", stream: "batch", inFlight: 1_000 } },
    }),
  ],

  settings: { rest: { errors: STANDARD_ERRORS } },

  actions: {
    ...standardActions,
    ...taskActions,
    ...channelActions,
    ...scheduleActions,

    /** Stores a task; resolves when it is on disk. */
    create: {
      async handler(this: This, ctx: Context<TaskRequest>): Promise<{ task: TaskView; created: boolean }> {
        const { task, created } = await this.tasks.create({ ...ctx.params, internal: true });
        return { task: viewTask(task), created };
      },
    },

    /** Stores a task under `key`, or under `key-2`, … where the runs before it failed or were cancelled. */
    createRun: {
      async handler(
        this: This,
        ctx: Context<TaskRequest & { key: string }>,
      ): Promise<{ task: TaskView; created: boolean }> {
        const { key, ...request } = ctx.params;
        const { task, created } = await this.tasks.createRun(key, { ...request, internal: true });
        return { task: viewTask(task), created };
      },
    },

    /** The task of that ID or HashCode; NOT_FOUND where there is none. */
    get: {
      idempotent: true,
      async handler(this: This, ctx: Context<{ id?: number; hash?: string }>): Promise<TaskView> {
        const { id, hash } = ctx.params;
        const task = id === undefined ? await this.tasks.findByHash(String(hash)) : await this.tasks.get(Number(id));
        if (!task) throw notFound(`there is no task ${id ?? hash}`);
        return viewTask(task);
      },
    },

    /** The last of the runs under `key` in these channels; NOT_FOUND where there is none. */
    lastRun: {
      idempotent: true,
      async handler(this: This, ctx: Context<{ key: string; channels: string[] }>): Promise<TaskView> {
        const { key, channels } = ctx.params;
        const task = await this.tasks.lastRun(key, channels);
        if (!task) throw notFound(`there is no task ${key}`);
        return viewTask(task);
      },
    },

    /**
     * The tasks of a label that were made at `since` (RFC 3339) or later, newest first, or those of them that come after the
     * task `after`. As many as one message holds: there are no more where it answers none.
     */
    list: {
      idempotent: true,
      async handler(this: This, ctx: Context<ListParams>): Promise<TaskView[]> {
        const { label, since, after } = ctx.params;
        const last = after ? { _id: after.id, createTime: new Date(after.createTime) } : null;
        const tasks = await this.tasks.listByLabel(label, new Date(since), last);
        return tasks.map(viewTask);
      },
    },

    /** The tasks of these HashCodes that are there, without their inputs; as many as one message holds. */
    getMany: {
      idempotent: true,
      async handler(this: This, ctx: Context<{ hashes: string[] }>): Promise<TaskView[]> {
        return (await this.tasks.byHashes(ctx.params.hashes)).map(viewTask);
      },
    },

    /**
     * A page of all tasks, the last made first, without their inputs; `after` is what the page before answered as `next`. A page
     * looks at 5,000 tasks: it may hold none and still have a next one.
     */
    search: {
      idempotent: true,
      async handler(this: This, ctx: Context<SearchParams>): Promise<{ tasks: TaskView[]; next?: SearchPlace }> {
        const { size, after, ...search } = ctx.params;
        const place = after && { _id: after.id, time: new Date(after.createTime) };
        const { tasks, next } = await this.tasks.queries.search(search, size, place);
        const page = { tasks: tasks.map(viewTask) };
        return next ? { ...page, next: { id: next._id, createTime: next.time.toISOString() } } : page;
      },
    },

    /** Deletes a task as an operation: from then on it is `forgotten`. Its work goes on. */
    forget: {
      async handler(this: This, ctx: Context<{ id: number }>): Promise<boolean> {
        const { before, after } = await this.tasks.change(Number(ctx.params.id), (task) => forget(task));
        return before !== after;
      },
    },

    /** How many tasks of a label that were made at `since` (RFC 3339) or later have not ended; counts to `limit`. */
    countOpen: {
      idempotent: true,
      async handler(this: This, ctx: Context<{ label: string; since: string; limit: number }>): Promise<number> {
        const { label, since, limit } = ctx.params;
        return this.tasks.countOpen(label, new Date(since), limit);
      },
    },

    /** How many tasks wait in a channel. */
    length: {
      idempotent: true,
      async handler(this: This, ctx: Context<{ channel: string }>): Promise<number> {
        return this.tasks.waiting(ctx.params.channel);
      },
    },

    /** Up to `max` tasks for a worker of Longshore's own; none after `waitMs`. */
    receive: {
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(
        this: This,
        ctx: Context<{ channel: string; max: number; waitMs: number; leaseMs: number; worker: string }>,
      ): Promise<TaskView[]> {
        const { worker, ...request } = ctx.params;
        const signal = signalOf(ctx);
        const tasks = await this.dispatcher.receive({ ...request, holder: worker, signal });
        if (signal.aborted && tasks.length) await this.giveBackTasks(tasks);
        return tasks.map(viewTask);
      },
    },

    /** Ends, renews or gives back a task that a worker of Longshore's own has; answers its state. */
    report: {
      async handler(this: This, ctx: Context<Report & { id: number }>): Promise<TaskView["state"]> {
        const { id, ...said } = ctx.params;
        const { after } = await this.tasks.change(id, (task, now) => report(task, said, now));
        return viewTask({ ...after, input: "" }).state;
      },
    },

    /** Cancels a task, by ID or HashCode, and the rest of its chain; answers how many it cancelled. */
    cancel: {
      async handler(this: This, ctx: Context<{ id?: number; hash?: string }>): Promise<number> {
        const { id, hash } = ctx.params;
        if (id !== undefined) return (await this.cancelTask(Number(id))).length;
        if (hash === undefined) throw invalidArgument("id", "must be given, or hash");
        const task = await this.tasks.findByHash(hash);
        if (!task) throw notFound(`there is no task ${hash}`);
        return (await this.cancelTask(task._id)).length;
      },
    },
  },

  events: {
    "$services.changed"(this: This) {
      this.findInternalChannels();
    },

    /** Receivers go to other nodes; reports are still taken. */
    "$node.draining"(this: This) {
      this.dispatcher?.stop();
    },

    /** What is set for a channel has changed, on any node. */
    async "queues.channelChanged"(this: This, ctx: Context<{ channel: string }>) {
      const { channel } = ctx.params;
      await this.channels?.refresh(channel);
      this.dispatcher?.hint(channel);
    },

    /** A hint from any node: tasks of these channels can be claimed. */
    "queues.available"(this: This, ctx: Context<{ channels: string[]; again: boolean }>) {
      for (const channel of ctx.params.channels) {
        if (ctx.params.again) this.tasks?.reorder(channel);
        this.dispatcher?.hint(channel);
      }
    },
  },

  methods: {
    isInternal(this: This, channel: string): boolean {
      return this.internalChannels.has(channel);
    },

    findInternalChannels(this: This): void {
      const services = this.broker.registry.services.list({}) as { settings?: WorkerSettings }[];
      this.internalChannels = new Set(services.flatMap(({ settings }) => Object.keys(settings?.workers ?? {})));
    },

    async cancelTask(this: This, id: number): Promise<Task[]> {
      return this.tasks.cancel(id, (task, now) => cancel(task, task.output, now));
    },

    /** For tasks that were claimed and could not be delivered: nobody has begun them. */
    async giveBackTasks(this: This, tasks: Task[]): Promise<void> {
      await Promise.all(
        tasks.map(({ _id, token }) =>
          this.tasks.change(_id, (task, now) => (task.token === token ? giveBack(now) : null)),
        ),
      );
    },

    /** A stream broke: what it had not reported is lost. */
    async loseStream(this: This, stream: string): Promise<void> {
      await forEachHeld(this.tasks, stream, (task, now) =>
        lose(task, "the stream of its worker broke", this.maxLost, now),
      );
    },

    /** A stream failed whose worker lives: it keeps what has reached it. What a receive was to bring that failed goes back. */
    async takeBack(this: This, stream: string, underWay: number[]): Promise<void> {
      await forEachHeld(this.tasks, stream, ({ call = 0 }, now) => (underWay.includes(call) ? giveBack(now) : null));
    },

    /** A stream was half-closed: resolves when its tasks are reported; gives them back when the worker goes away. */
    async drainStream(this: This, stream: string, signal: AbortSignal): Promise<void> {
      const until = Date.now() + DRAIN_STREAM_MS;
      for (let pause = 20; Date.now() < until && !signal.aborted; pause = Math.min(pause * 2, 500)) {
        if ((await this.tasks.heldBy(stream, 0, 1)).length === 0) return;
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
      if (signal.aborted) await forEachHeld(this.tasks, stream, (_task, now) => giveBack(now));
    },

    /** Tells the streams on which these tasks went out that they are not theirs any more. */
    tellStopped(this: This, tasks: Task[]): void {
      for (const [stream, his] of Map.groupBy(tasks, (task) => task.stream)) {
        const message = { Stopped: his.map(({ _id }) => String(_id)) };
        if (stream) this.broadcast("gateway.streamMessage", { stream, message } satisfies StreamMessage);
      }
    },

    broadcast(this: This, event: string, payload: unknown): void {
      this.broker.broadcast(event, payload).catch((error: unknown) => {
        this.logger.warn(`${event} could not be told to the other nodes`, error);
      });
    },
  },

  async started(this: This) {
    const config = configOf(this.broker);
    const onError = (error: unknown) => this.logger.error("the queue could not do what was due", error);
    this.maxLost = config.maxLost;
    this.findInternalChannels();
    this.channels = await Channels.open(this.datastore, (channel) =>
      this.broadcast("queues.channelChanged", { channel }),
    );
    this.statistics = await ChannelStatistics.open(this.datastore);
    const listener: TaskListener = {
      created: (channel, count) => this.statistics.created(channel, count),
      changed: (changes) => this.statistics.changed(changes),
      available: (channels, again) => this.broadcast("queues.available", { channels, again }),
      ended: (tasks) => this.broadcast("queues.ended", { tasks: tasks.map(tellEnded) } satisfies TasksEnded),
      due: (at) => this.reaper?.expect(at),
      stopped: (tasks) => this.tellStopped(tasks),
      failed: onError,
    };
    this.tasks = await TaskStore.open({
      datastore: this.datastore,
      channels: this.channels,
      retentionDays: config.taskRetentionDays,
      listener,
      offer: (channel) => this.dispatcher?.offer(channel),
    });
    this.dispatcher = new Dispatcher({
      claim: (channel, requests) => this.tasks.claim(channel, requests),
      giveBack: (tasks) => this.giveBackTasks(tasks),
      onError,
    });
    this.reaper = new Reaper({ store: this.tasks, maxLost: config.maxLost, onError });
    this.schedules = await Schedules.open({
      datastore: this.datastore,
      create: async (request) => {
        if (!request.internal) refuseInternal(this, "Task.Channel", request.channel);
        return this.tasks.create(request);
      },
      onError,
    });
    if (this.datastore.kind === "embedded") await this.reaper.recover();
    this.channels.start({ available: (channel) => this.dispatcher.hint(channel), onError });
    this.statistics.start(onError);
    this.dispatcher.start();
    this.reaper.start();
    this.schedules.start();
  },

  async stopped(this: This) {
    this.dispatcher?.stop();
    await this.schedules?.stop();
    await this.reaper?.stop();
    await this.channels?.stop();
    await this.statistics?.stop();
  },
};

function tellEnded({ _id, hash, channel, state }: Task): TasksEnded["tasks"][number] {
  return { id: _id, hash, channel, state: publicState(state) };
}

/** Changes every task that a stream has, unless another claim has got it meanwhile. */
async function forEachHeld(
  tasks: TaskStore,
  stream: string,
  decide: (task: Task, now: Date) => ReturnType<typeof giveBack> | null,
): Promise<void> {
  let after = 0;
  for (;;) {
    const held = await tasks.heldBy(stream, after, STREAM_BATCH);
    const changes: Promise<Changed>[] = held.map(({ _id }) =>
      tasks.change(_id, (task, now) => (task.stream === stream && !isEnded(task.state) ? decide(task, now) : null)),
    );
    await Promise.all(changes);
    if (held.length < STREAM_BATCH) return;
    after = held.at(-1)?._id ?? 0;
  }
}

export default queues;

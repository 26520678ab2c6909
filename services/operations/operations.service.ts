/**
 * operations: every long job as a google.longrunning operation (https://google.aip.dev/151). A view: what it tells is what queues
 * stores of the task, and nothing is stored here.
 */
import type { Context, Service, ServiceSchema } from "moleculer";
import { invalidArgument } from "../../lib/errors.ts";
import { readPageSize } from "../../lib/page-size.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import { rest } from "../../lib/rest-options.ts";
import { callScopeOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import { readFilter } from "./filter.ts";
import { Kinds } from "./kinds.ts";
import type { Operation, OperationTask } from "./operation.ts";
import { hashOf, isDone, nameOf, versionOf } from "./operation.ts";
import { readDuration, readParent } from "./request.ts";
import { Tasks } from "./tasks.ts";
import { Waits } from "../../lib/waits.ts";
import { Watched } from "./watched.ts";
import { operationJson, operationMessage } from "./wire.ts";

interface OperationsService {
  kinds: Kinds;
  tasks: Tasks;
  /** Who waits for an end. */
  waits: Waits;
  watched: Watched;
  list(request: ListRequest): Promise<{ operations: Operation[]; next: string }>;
  waitFor(ctx: Context<unknown, WaitMeta>, name: unknown, ms: number | undefined): Promise<Operation>;
  nextChange(ctx: Context<unknown, WatchMeta>, name: unknown): Promise<Change>;
  operationOf(task: OperationTask): Promise<Operation>;
  forget(name: unknown): Promise<void>;
}

type This = Service & OperationsService;

/** What a watch is told: the operation, where the client has not got it. */
interface Change {
  operation?: Operation;
  cursor: string;
  done: boolean;
}

interface ListRequest {
  name: unknown;
  filter: unknown;
  pageSize: unknown;
  pageToken: unknown;
}

interface WaitMeta {
  /** How long the RPC may still take, in milliseconds. */
  timeLeft?: number;
}

interface WatchMeta {
  /** The version of the operation that the client has. */
  stream?: { cursor?: unknown };
}

type Params = Record<string, unknown>;

/** A wait without a limit of its own ends after an hour in gRPC, in REST after a minute, before what is between gives up. */
const MAX_WAIT_MS = 3_600_000;
const REST_WAIT_MS = 60_000;
/** The answer must be there before the client gives up: so much of its time is for the way, at most a second. */
const ANSWER_SHARE = 0.25;
const MAX_ANSWER_MS = 1_000;
/** A stream that nothing happens on asks again after so long. */
const WATCH_MS = 30_000;

const operations: ServiceSchema<object, object, object, This> = {
  name: "operations",

  mixins: [
    grpc({ proto: "google/longrunning/operations.proto", service: "google.longrunning.Operations" }),
    grpc({ proto: "longshore/v1/operations.proto", service: "longshore.v1.Operations" }),
  ],

  actions: {
    listOperations: {
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        const { name, filter, page_size: pageSize, page_token: pageToken } = params;
        const { operations: found, next } = await this.list({ name, filter, pageSize, pageToken });
        return { operations: found.map((one) => operationMessage(one, this.kinds)), next_page_token: next };
      },
    },

    getOperation: {
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        return operationMessage(await this.operationOf(await this.tasks.get(params["name"])), this.kinds);
      },
    },

    deleteOperation: {
      async handler(this: This, { params }: Context<Params>) {
        await this.forget(params["name"]);
        return {};
      },
    },

    /** Best effort: OK for an operation that is done, and again. */
    cancelOperation: {
      async handler(this: This, { params }: Context<Params>) {
        await this.tasks.cancel(params["name"]);
        return {};
      },
    },

    /** Answers the latest state when it is done, or when the time is up. */
    waitOperation: {
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(this: This, ctx: Context<Params, WaitMeta>) {
        const ms = readDuration("timeout", ctx.params["timeout"]);
        return operationMessage(await this.waitFor(ctx, ctx.params["name"], ms), this.kinds);
      },
    },

    watchOperation: {
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(this: This, ctx: Context<Params, WatchMeta>) {
        const { operation, cursor, done } = await this.nextChange(ctx, ctx.params["name"]);
        const items = operation ? [operationMessage(operation, this.kinds)] : [];
        return { items, cursor, done };
      },
    },

    list: {
      rest: "GET /v1/operations",
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        const { filter, pageSize = params["page_size"], pageToken = params["page_token"] } = params;
        const { operations: found, next } = await this.list({ name: "", filter, pageSize, pageToken });
        return { operations: found.map((one) => operationJson(one, this.kinds)), nextPageToken: next };
      },
    },

    get: {
      rest: "GET /v1/operations/{name=**}",
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        return operationJson(await this.operationOf(await this.tasks.get(pathName(params))), this.kinds);
      },
    },

    delete: {
      rest: "DELETE /v1/operations/{name=**}",
      async handler(this: This, { params }: Context<Params>) {
        await this.forget(pathName(params));
        return {};
      },
    },

    cancel: {
      rest: "POST /v1/operations/{name=**}:cancel",
      async handler(this: This, { params }: Context<Params>) {
        await this.tasks.cancel(pathName(params));
        return {};
      },
    },

    wait: {
      rest: "POST /v1/operations/{name=**}:wait",
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(this: This, ctx: Context<Params, WaitMeta>) {
        const ms = readDuration("timeout", ctx.params["timeout"]) ?? REST_WAIT_MS;
        return operationJson(await this.waitFor(ctx, pathName(ctx.params), ms), this.kinds);
      },
    },

    /** Server-sent events: the operation, and again when it has changed, until it is done. */
    watch: {
      rest: rest({ path: "GET /v1/operations/{name=**}:watch", response: "events" }),
      timeout: 0,
      bulkhead: { enabled: false },
      async handler(this: This, ctx: Context<Params, WatchMeta>) {
        const { operation, cursor, done } = await this.nextChange(ctx, pathName(ctx.params));
        const items = operation ? [operationJson(operation, this.kinds)] : [];
        return { items, cursor, done };
      },
    },
  },

  events: {
    "$services.changed"(this: This) {
      this.kinds?.refresh();
    },

    "queues.ended"(this: This, ctx: Context<{ tasks: { hash: string }[] }>) {
      const hashes = ctx.params.tasks.map(({ hash }) => hash);
      this.waits?.wake(hashes);
      this.watched?.waits.wake(hashes);
    },

    "operations.deleted"(this: This, ctx: Context<{ hash: string }>) {
      this.waits?.wake([ctx.params.hash]);
      this.watched?.waits.wake([ctx.params.hash]);
    },

    "$node.draining"(this: This) {
      this.waits?.close();
      this.watched?.waits.close();
    },

    // What was told meanwhile may not have come here.
    "$transporter.connected"(this: This) {
      this.waits?.wake(this.waits.hashes);
    },
    "$node.disconnected"(this: This) {
      this.waits?.wake(this.waits.hashes);
    },
  },

  methods: {
    async list(this: This, { name, filter = "", pageSize, pageToken = "" }: ListRequest) {
      readParent(name);
      if (typeof filter !== "string") throw invalidArgument("filter", "must be given once");
      if (typeof pageToken !== "string") throw invalidArgument("page_token", "must be given once");
      const size = readPageSize(pageSize);
      const wanted = readFilter(filter);
      const after = readPageToken("page_token", pageToken, filter) as [number, string] | undefined;
      const place = after && { id: after[0], createTime: after[1] };
      const { tasks, next } = await this.tasks.page(wanted, size, place);
      return {
        operations: await this.kinds.describe(tasks),
        next: next ? writePageToken(filter, [next.id, next.createTime]) : "",
      };
    },

    /** Whoever waits for it hears of it, on whatever node. */
    async forget(this: This, name: unknown): Promise<void> {
      const hash = await this.tasks.forget(name);
      await this.broker.broadcast("operations.deleted", { hash });
    },

    async operationOf(this: This, task: OperationTask): Promise<Operation> {
      const [operation] = await this.kinds.describe([task]);
      return operation!;
    },

    async waitFor(this: This, ctx: Context<unknown, WaitMeta>, name: unknown, ms = MAX_WAIT_MS): Promise<Operation> {
      const { timeLeft = Infinity } = ctx.meta;
      const forAnswer = Math.min(timeLeft * ANSWER_SHARE, MAX_ANSWER_MS);
      const limit = Math.max(0, Math.min(ms, MAX_WAIT_MS, timeLeft - forAnswer));
      let task: OperationTask | undefined;
      await this.waits.until(hashOf(name), limit, callScopeOf(ctx), async () => {
        task = await this.tasks.get(name);
        return isDone(task);
      });
      return this.operationOf(task!);
    },

    /** The operation, once it is not the one that the client has; nothing where it stays that for long. */
    async nextChange(this: This, ctx: Context<unknown, WatchMeta>, name: unknown) {
      const had = ctx.meta.stream?.cursor;
      let task: OperationTask | undefined;
      await this.watched.waits.until(hashOf(name), WATCH_MS, callScopeOf(ctx), async () => {
        task = await this.tasks.get(name);
        return versionOf(task) !== had || isDone(task);
      });
      const cursor = versionOf(task!);
      const done = isDone(task!);
      return cursor === had ? { cursor, done } : { operation: await this.operationOf(task!), cursor, done };
    },
  },

  created(this: This) {
    this.kinds = new Kinds(this.broker);
    this.tasks = new Tasks(this.broker);
    this.waits = new Waits();
    this.watched = new Watched(
      (hashes) => this.tasks.many(hashes),
      (error) => this.logger.warn("the operations that are watched could not be looked at", error),
    );
  },

  started(this: This) {
    this.kinds.refresh();
    this.watched.start();
  },

  stopped(this: This) {
    this.watched.stop();
  },
};

/** Of a path: also `operations%2F{id}`, as Google's REST clients write it. */
function pathName({ name }: Params): string {
  const path = String(name);
  return path.startsWith("operations/") ? path : nameOf(path);
}

export default operations;

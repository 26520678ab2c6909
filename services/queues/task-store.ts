/** The tasks in the datastore. What many ask for at once is done in groups. */
import type { Collection, Datastore, Filter } from "../../lib/datastore/datastore.ts";
import { failedPrecondition, LongshoreError } from "../../lib/errors.ts";
import type { Channel, Channels } from "./channels.ts";
import { OwnerTurns } from "./owner-turns.ts";
import { ReadAhead } from "./read-ahead.ts";
import { TaskChains } from "./task-chains.ts";
import type { Changed, Decide } from "./task-changes.ts";
import { DECISION_FIELDS, TaskChanges } from "./task-changes.ts";
import type { ClaimOptions, ClaimRequest } from "./task-claims.ts";
import { claimTasks, MAX_CLAIM, wantedBy } from "./task-claims.ts";
import type { Created, Offer } from "./task-creates.ts";
import { TaskCreates } from "./task-creates.ts";
import type { Counter } from "./task-ids.ts";
import { TaskIds } from "./task-ids.ts";
import { TASK_INDEXES } from "./task-indexes.ts";
import type { LogLine } from "./task-logs.ts";
import { TaskLogs } from "./task-logs.ts";
import { TaskQueries } from "./task-queries.ts";
import type { TaskRequest } from "./task-request.ts";
import { checkPredecessor, newTask, sameRequest } from "./task-request.ts";
import { MAX_ANSWER_BYTES, takeWithin } from "./task-size.ts";
import { TaskSweeps } from "./task-sweeps.ts";
import { TaskTags } from "./task-tags.ts";
import type { Report, Task } from "./task.ts";
import { isEnded, report, WAITING_STATES } from "./task.ts";

/** Told after the commit, in groups. */
export interface TaskListener {
  created(channel: string, count: number): void;
  changed(changes: Changed[]): void;
  /** Tasks can be claimed; `again`: some of them come before others that could be before. */
  available(channels: string[], again: boolean): void;
  ended(tasks: Task[]): void;
  /** A task has to be looked at then. */
  due(at: Date): void;
  /** Running tasks were taken from their workers, which want to know. */
  stopped(tasks: Task[]): void;
  failed(error: unknown): void;
}

export interface TaskStoreOptions {
  datastore: Datastore;
  channels: Channels;
  /** How long ended tasks are kept where their channel says nothing of it. */
  retentionDays: number;
  listener: TaskListener;
  /** A receiver that waits in a channel where no task does. */
  offer: (channel: string) => Offer | undefined;
}

/** IDs tell the order only of what one node made. */
const NEWEST_FIRST = { createTime: -1, _id: -1 } as const;
const DAY_MS = 86_400_000;
/** Tasks of a label that are read at once. */
const LIST_LIMIT = 100;
/** Tasks read at once, of up to 1 MiB each. */
const MANY_BATCH = 32;
const MAX_ROUNDS = 10;
const overflow = () =>
  new LongshoreError("RESOURCE_EXHAUSTED", "too many requests wait for the datastore, try again later");

export class TaskStore {
  readonly queries: TaskQueries;
  readonly sweeps: TaskSweeps;
  readonly #tasks: Collection<Task>;
  readonly #logs: TaskLogs;
  readonly #tags: TaskTags;
  readonly #now: () => Date;
  readonly #channels: Channels;
  readonly #retentionMs: number;
  readonly #listener: TaskListener;
  readonly #creates: TaskCreates;
  readonly #changes: TaskChanges;
  readonly #chains: TaskChains;
  readonly #ahead = new ReadAhead();
  readonly #turns: OwnerTurns;

  private constructor(
    tasks: Collection<Task>,
    counters: Collection<Counter>,
    logs: TaskLogs,
    tags: TaskTags,
    { datastore, channels, retentionDays, listener, offer }: TaskStoreOptions,
  ) {
    this.#tasks = tasks;
    this.#logs = logs;
    this.#tags = tags;
    this.#now = () => datastore.now();
    this.#channels = channels;
    this.#retentionMs = retentionDays * DAY_MS;
    this.#listener = listener;
    // One group at a time: what comes meanwhile makes the next one larger, and so each task cheaper.
    const limits = { size: 500, parallel: 1, waiting: 50_000, overflow };
    this.#creates = new TaskCreates(tasks, tags, new TaskIds(counters), this.#now, limits, {
      offer: (channel) => (isPlain(channels.get(channel)) ? offer(channel) : undefined),
      created: (made) => this.#tellCreated(made),
    });
    this.#changes = new TaskChanges(tasks, this.#now, limits, {
      keepMs: (channel) => this.#keepMs(channel),
      changed: (changed) => this.#tell(changed),
    });
    this.#chains = new TaskChains(tasks, this.#changes);
    this.#turns = new OwnerTurns(tasks);
    this.queries = new TaskQueries(tasks, tags);
    this.sweeps = new TaskSweeps(tasks, this.#changes, this.#chains, this.queries, this.#now);
  }

  static async open(options: TaskStoreOptions): Promise<TaskStore> {
    const { datastore } = options;
    const tasks = await datastore.collection<Task>("tasks", TASK_INDEXES);
    const counters = await datastore.collection<Counter>("counters");
    return new TaskStore(tasks, counters, await TaskLogs.open(datastore), await TaskTags.open(datastore), options);
  }

  now(): Date {
    return this.#now();
  }

  /** Resolves when the task is on disk. A known HashCode answers its task, or throws where it asks for another. */
  async create(request: TaskRequest): Promise<Created> {
    try {
      return await this.#create(request);
    } catch (error) {
      // Who asks again for what is there is not refused for what has come since: a drain, a failed predecessor, the time.
      const { hash, channel, owner = "0", input = "" } = request;
      const task = hash && error instanceof LongshoreError && error.code === 400 ? await this.findByHash(hash) : null;
      if (!task || !sameRequest(task, { channel, owner, input })) throw error;
      return { task, created: false };
    }
  }

  async #create(request: TaskRequest): Promise<Created> {
    const task = newTask(request, this.#now());
    const channel = this.#channels.get(task.channel);
    if (channel?.status === "DRAINING") {
      throw failedPrecondition(`Task.Channel: channel ${task.channel} is being drained, it takes no new tasks`);
    }
    if (channel?.settings.fair) task.fair = true;
    if (!task.next) return this.#creates.create({ request, task });
    const predecessor = await this.get(task.next);
    if (!predecessor) throw failedPrecondition(`Task.Next: there is no task ${task.next}`);
    checkPredecessor(predecessor, request);
    const created = await this.#creates.create({ request, task });
    if (created.created) await this.#chains.link(created.task);
    return created;
  }

  /**
   * The same in several runs: the task is `key`, or `key-2`, `key-3`, … where all the runs before ended FAILURE or CANCEL.
   * The key says what is asked for: of two requests at once whose inputs differ in their writing, one makes the task.
   */
  async createRun(key: string, request: TaskRequest): Promise<Created> {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const last = await this.lastRun(key, [request.channel]);
      if (last && last.state !== "FAILURE" && last.state !== "CANCEL") return { task: last, created: false };
      const hash = last ? `${key}-${runNumber(key, last.hash) + 1}` : key;
      try {
        const created = await this.create({ ...request, hash });
        if (created.created || !isEnded(created.task.state)) return created;
      } catch (error) {
        if ((await this.findByHash(hash))?.channel !== request.channel) throw error;
      }
    }
    throw overflow();
  }

  /** The last of the runs under `key` in these channels: elsewhere anyone may give a task such a HashCode. */
  async lastRun(key: string, channels: string[]): Promise<Task | null> {
    // "." is the character after "-": the range holds the key itself and its runs.
    const filter: Filter<Task> = { hash: { $gte: key, $lt: `${key}.` }, channel: { $in: channels } };
    const runs = await this.#tasks.find(filter, { projection: { hash: 1 } }).toArray();
    // Not by their IDs: each node gives those from a block of its own.
    const [last] = runs.sort((left, right) => runNumber(key, right.hash) - runNumber(key, left.hash));
    return last ? this.get(last._id) : null;
  }

  async get(id: number): Promise<Task | null> {
    return this.#tasks.findOne({ _id: id });
  }

  async findByHash(hash: string): Promise<Task | null> {
    return this.#tasks.findOne({ hash });
  }

  /** The tasks of these HashCodes that are there, those that fit into one answer, without their inputs. */
  async byHashes(hashes: string[]): Promise<Task[]> {
    return takeWithin(this.#tasks.find({ hash: { $in: hashes } }, { projection: { input: 0 } }), MAX_ANSWER_BYTES);
  }

  /** The tasks of these IDs, in that order, those that fit into one answer. */
  async many(ids: number[]): Promise<Task[]> {
    return takeWithin(this.#inOrder(ids), MAX_ANSWER_BYTES);
  }

  async *#inOrder(ids: number[]): AsyncGenerator<Task> {
    for (let from = 0; from < ids.length; from += MANY_BATCH) {
      const batch = ids.slice(from, from + MANY_BATCH);
      const found = await this.#tasks.find({ _id: { $in: batch } }).toArray();
      const tasks = new Map(found.map((task) => [task._id, task]));
      for (const id of batch) yield* [tasks.get(id) ?? []].flat();
    }
  }

  /** Newest first; fewer than `limit` where more would not fit into one answer. */
  async listByOwner(owner: string, limit: number, skip: number): Promise<{ tasks: Task[]; total: number }> {
    const [tasks, total] = await Promise.all([
      takeWithin(this.#tasks.find({ owner }, { sort: NEWEST_FIRST, limit, skip }), MAX_ANSWER_BYTES),
      this.#tasks.countDocuments({ owner }),
    ]);
    return { tasks, total };
  }

  /** Newest first, those made at `since` or later that come after the task `after`; fewer where more would not fit. */
  async listByLabel(label: string, since: Date, after: Pick<Task, "_id" | "createTime"> | null): Promise<Task[]> {
    const filter: Filter<Task> = { label, createTime: { $gte: since } };
    if (after) {
      const { _id, createTime } = after;
      filter.createTime = { $gte: since, $lte: createTime };
      filter.$or = [{ createTime: { $lt: createTime } }, { _id: { $lt: _id } }];
    }
    return takeWithin(this.#tasks.find(filter, { sort: NEWEST_FIRST, limit: LIST_LIMIT }), MAX_ANSWER_BYTES);
  }

  /** Those of a label, made at `since` or later, that have not ended; no more than `limit`. */
  countOpen(label: string, since: Date, limit: number): Promise<number> {
    const states = [...WAITING_STATES, "RUNNING" as const];
    const filter: Filter<Task> = { label, createTime: { $gte: since }, state: { $in: states } };
    return this.#tasks.countDocuments(filter, { limit, hint: "label" });
  }

  async waiting(channel: string): Promise<number> {
    const counts = await Promise.all(
      WAITING_STATES.map((state) => this.#tasks.countDocuments({ channel, state } as Filter<Task>)),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** A task has come back to the channel, before those that came after it. */
  reorder(channel: string): void {
    this.#ahead.forget(channel);
  }

  /** Up to the sum of what the receivers want, in their order, and what the channel's settings allow. */
  async claim(channel: string, requests: ClaimRequest[]): Promise<Task[][]> {
    const set = this.#channels.get(channel);
    if (isPlain(set)) return this.#claim(channel, requests);
    const none = requests.map(() => []);
    if (set?.status === "PAUSED") return none;
    const turns = set?.settings.fair ? this.#turns : undefined;
    if (!set || !isLimited(set)) return this.#claim(channel, requests, { turns });
    // Its limits are looked at only where there is something to be claimed.
    const projection = { _id: 1 };
    if (!(await this.#tasks.findOne({ channel, state: "READY" }, { projection }))) return none;
    const claim = async (most: number) => {
      const result = await this.#claim(channel, requests, { most, turns });
      return { taken: result.flat().length, result };
    };
    const running = () => this.#running(channel, set.settings.concurrency);
    return (await this.#channels.limited(set, Math.min(MAX_CLAIM, wantedBy(requests)), running, claim)) ?? none;
  }

  /** How many of the channel's tasks run, up to a limit. */
  #running(channel: string, limit?: number): Promise<number> {
    return this.#tasks.countDocuments({ channel, state: "RUNNING" }, { hint: "running", limit });
  }

  async #claim(channel: string, requests: ClaimRequest[], options?: ClaimOptions): Promise<Task[][]> {
    const shares = await claimTasks(this.#tasks, this.#ahead, this.#now, channel, requests, options);
    this.#changes.remember(shares.flat());
    return shares;
  }

  /**
   * Changes a task as `decide` says of it, which is asked again where the task changed meanwhile; what follows from an end
   * (its chain) is done too. Throws what `decide` throws, and NOT_FOUND.
   */
  async change(id: number, decide: Decide): Promise<Changed> {
    const changed = await this.#changes.change(id, decide);
    if (isEnded(changed.after.state) && changed.after.prior) await this.#chains.settleSuccessor(changed.after);
    return changed;
  }

  /** Takes a worker's report and its lines for the log, which are kept if the report is; `check` may refuse it. */
  async report(id: number, said: Report, logs: string[], check: (task: Task) => void): Promise<void> {
    const { before, after } = await this.change(id, (task, now) => {
      check(task);
      const transition = report(task, said, now);
      if (transition && logs.length) transition.set.logged = (task.logged ?? 0) + logs.length;
      return transition;
    });
    if (logs.length && before !== after) {
      await this.#logs.append(after, logs, after.updateTime, this.#keepMs(after.channel));
    }
  }

  /** The lines of a task's log after the one of that number. */
  logs(id: number, after: number): Promise<LogLine[]> {
    return this.#logs.read(id, after);
  }

  /** Cancels the task and what follows it; answers all that it cancelled. */
  async cancel(id: number, decide: Decide): Promise<Task[]> {
    const { after } = await this.#changes.change(id, decide);
    return [after, ...(await this.#chains.settleSuccessor(after))];
  }

  /** RUNNING tasks that went out on a receive stream, in pages by ID. */
  async heldBy(stream: string, afterId: number, limit: number): Promise<Task[]> {
    const options = { sort: { _id: 1 }, limit, projection: DECISION_FIELDS } as const;
    return this.#tasks.find({ stream, _id: { $gt: afterId } }, options).toArray();
  }

  /** DELAYED tasks that are due at that time, the longest first. */
  due(at: Date, limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { state: "DELAYED", availableAt: { $lte: at } };
    return this.#tasks.find(filter, { sort: { availableAt: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** Tasks that have not ended by their deadline, the latest first. */
  overdue(at: Date, limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { deadline: { $lte: at } };
    return this.#tasks.find(filter, { sort: { deadline: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** RUNNING tasks whose lease has run out, the longest first. */
  expired(at: Date, limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { state: "RUNNING", leaseUntil: { $lt: at } };
    return this.#tasks.find(filter, { sort: { leaseUntil: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** RUNNING tasks of Longshore's own services. */
  async runningInternal(limit: number): Promise<Task[]> {
    const options = { hint: "lease", limit, projection: DECISION_FIELDS };
    return this.#tasks.find({ state: "RUNNING", internal: true }, options).toArray();
  }

  /** Goes through all chains and does what a node that died has left undone. */
  settleChains(signal: AbortSignal): Promise<void> {
    return this.#chains.settleAll(signal);
  }

  #keepMs(channel: string): number {
    const days = this.#channels.get(channel)?.settings.retentionDays;
    return days === undefined ? this.#retentionMs : days * DAY_MS;
  }

  #tellCreated(tasks: Task[]): void {
    const counts = new Map<string, number>();
    const ready = new Set<string>();
    const again = new Set<string>();
    for (const { channel, state, priority, availableAt, deadline } of tasks) {
      counts.set(channel, (counts.get(channel) ?? 0) + 1);
      if (availableAt && state === "DELAYED") this.#listener.due(availableAt);
      if (deadline) this.#listener.due(deadline);
      if (state === "READY") (priority > 0 ? again : ready).add(channel);
    }
    this.#changes.remember(tasks.filter(({ state }) => state === "RUNNING"));
    for (const [channel, count] of counts) this.#listener.created(channel, count);
    // One of a priority comes before those that were read before it was made.
    for (const channel of again) this.reorder(channel);
    if (again.size) this.#listener.available([...again], true);
    if (ready.size) this.#listener.available([...ready], false);
  }

  #tell(changed: Changed[]): void {
    const channels = new Set<string>();
    const ended: Task[] = [];
    const turned: Task[] = [];
    const stopped: Task[] = [];
    for (const { before, after, taken } of changed) {
      const over = isEnded(after.state);
      const free = before.state === "RUNNING" && after.state !== "RUNNING";
      if (after.state === "DELAYED" && after.availableAt) this.#listener.due(after.availableAt);
      if (after.state === "READY") channels.add(after.channel);
      else if (free && this.#channels.get(after.channel)?.settings.concurrency) channels.add(after.channel);
      if (over) ended.push(after);
      if (over !== isEnded(before.state)) turned.push(after);
      if (taken && before.notices) stopped.push(before);
    }
    this.#listener.changed(changed);
    // Before they can be claimed: who gets one again must not hear then that it was stopped.
    if (stopped.length) this.#listener.stopped(stopped);
    for (const channel of channels) this.reorder(channel);
    if (channels.size) this.#listener.available([...channels], true);
    if (ended.length) this.#listener.ended(ended);
    this.#tags.follow(turned).catch((error: unknown) => this.#listener.failed(error));
  }
}

/** Nothing is set for the channel that a claim or a create must heed. */
function isPlain(channel: Channel | undefined): boolean {
  return !channel || (channel.status === "ACTIVE" && !channel.settings.fair && !isLimited(channel));
}

function isLimited({ settings }: Channel): boolean {
  return settings.concurrency !== undefined || settings.rate !== undefined;
}

function runNumber(key: string, hash: string): number {
  return hash === key ? 1 : Number(hash.slice(key.length + 1));
}

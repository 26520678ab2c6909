/** The collection of tasks, and the chains among them. What many ask for at once is done in groups. */
import type { Collection, Datastore, Filter, IndexDescription } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { failedPrecondition, LongshoreError } from "../../lib/errors.ts";
import type { Outcome } from "../../lib/group-commit.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { Changed, Decide } from "./task-changes.ts";
import { DECISION_FIELDS, TaskChanges } from "./task-changes.ts";
import { ReadAhead } from "./read-ahead.ts";
import type { ClaimRequest } from "./task-claims.ts";
import { claimTasks } from "./task-claims.ts";
import type { Counter } from "./task-ids.ts";
import { TaskIds } from "./task-ids.ts";
import { MAX_ANSWER_BYTES, takeWithin } from "./task-size.ts";
import type { NewTask, TaskRequest } from "./task-request.ts";
import { checkPredecessor, newTask, sameRequest } from "./task-request.ts";
import type { Task, TaskState } from "./task.ts";
import { follow, isEnded } from "./task.ts";

const WAITING_STATES: TaskState[] = ["READY", "DELAYED", "CHAINED"];

/** Every query of this file names one of these. */
function indexes(retentionDays: number): IndexDescription[] {
  return [
    { name: "hash", key: { hash: 1 }, unique: true },
    {
      name: "claim",
      key: { channel: 1, priority: -1, readyAt: 1, _id: 1 },
      partialFilterExpression: { state: "READY" },
    },
    { name: "due", key: { availableAt: 1 }, partialFilterExpression: { state: "DELAYED" } },
    { name: "delayed", key: { channel: 1 }, partialFilterExpression: { state: "DELAYED" } },
    { name: "chained", key: { channel: 1, _id: 1 }, partialFilterExpression: { state: "CHAINED" } },
    { name: "deadline", key: { deadline: 1 }, partialFilterExpression: { deadline: { $exists: true } } },
    { name: "lease", key: { leaseUntil: 1 }, partialFilterExpression: { state: "RUNNING" } },
    { name: "running", key: { channel: 1 }, partialFilterExpression: { state: "RUNNING" } },
    { name: "stream", key: { stream: 1, _id: 1 }, partialFilterExpression: { stream: { $exists: true } } },
    { name: "owner", key: { owner: 1, createTime: -1, _id: -1 } },
    { name: "successor", key: { next: 1 }, unique: true, partialFilterExpression: { next: { $exists: true } } },
    {
      name: "label",
      key: { label: 1, createTime: -1, _id: -1 },
      partialFilterExpression: { label: { $exists: true } },
    },
    {
      name: "expiry",
      key: { endTime: 1 },
      expireAfterSeconds: retentionDays * 86_400,
      partialFilterExpression: { endTime: { $exists: true } },
    },
  ];
}

/** Told after the commit, in groups. */
export interface TaskListener {
  created(channel: string, count: number): void;
  changed(changes: Changed[]): void;
  /** Tasks can be claimed; `again`: some of them come before others that could be before. */
  available(channels: string[], again: boolean): void;
  ended(tasks: Task[]): void;
}

interface Create {
  request: TaskRequest;
  task: NewTask;
}
export interface Created {
  task: Task;
  /** False where the HashCode was known and asked for the same. */
  created: boolean;
}

/** IDs tell the order only of what one node made. */
const NEWEST_FIRST = { createTime: -1, _id: -1 } as const;
/** Tasks of a label that are read at once. */
const LIST_LIMIT = 100;
/** Tasks read at once, of up to 1 MiB each. */
const MANY_BATCH = 32;
const MAX_ROUNDS = 10;
const overflow = () =>
  new LongshoreError("RESOURCE_EXHAUSTED", "too many requests wait for the datastore, try again later");

export class TaskStore {
  readonly #tasks: Collection<Task>;
  readonly #ids: TaskIds;
  readonly #now: () => Date;
  readonly #listener: TaskListener;
  readonly #creates: GroupCommit<Create, Created>;
  readonly #changes: TaskChanges;
  readonly #ahead = new ReadAhead();

  private constructor(tasks: Collection<Task>, ids: TaskIds, now: () => Date, listener: TaskListener) {
    this.#tasks = tasks;
    this.#ids = ids;
    this.#now = now;
    this.#listener = listener;
    const limits = { size: 500, parallel: 2, waiting: 50_000, overflow };
    this.#creates = new GroupCommit(limits, (items) => this.#insert(items));
    this.#changes = new TaskChanges(tasks, now, limits, (changed) => this.#tell(changed));
  }

  static async open(datastore: Datastore, retentionDays: number, listener: TaskListener): Promise<TaskStore> {
    const tasks = await datastore.collection<Task>("tasks", indexes(retentionDays));
    const counters = await datastore.collection<Counter>("counters");
    return new TaskStore(tasks, new TaskIds(counters), () => datastore.now(), listener);
  }

  now(): Date {
    return this.#now();
  }

  /** Resolves when the task is on disk. A known HashCode answers its task, or throws where it asks for another. */
  async create(request: TaskRequest): Promise<Created> {
    const task = newTask(request, this.#now());
    if (!task.next) return this.#creates.add({ request, task });
    const predecessor = await this.get(task.next);
    if (!predecessor) throw failedPrecondition(`Task.Next: there is no task ${task.next}`);
    checkPredecessor(predecessor, request);
    const created = await this.#creates.add({ request, task });
    if (created.created) await this.#link(created.task);
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

  async running(channel: string): Promise<number> {
    return this.#tasks.countDocuments({ channel, state: "RUNNING" }, { hint: "running" });
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

  /** Up to the sum of what the receivers want, in their order. */
  async claim(channel: string, requests: ClaimRequest[]): Promise<Task[][]> {
    const shares = await claimTasks(this.#tasks, this.#ahead, this.#now, channel, requests);
    this.#changes.remember(shares.flat());
    return shares;
  }

  /**
   * Changes a task as `decide` says of it, which is asked again where the task changed meanwhile; what follows from an end
   * (its chain) is done too. Throws what `decide` throws, and NOT_FOUND.
   */
  async change(id: number, decide: Decide): Promise<Changed> {
    const changed = await this.#changes.change(id, decide);
    if (isEnded(changed.after.state) && changed.after.prior) await this.#settleSuccessor(changed.after);
    return changed;
  }

  /** Cancels the task and what follows it; answers all that it cancelled. */
  async cancel(id: number, decide: Decide): Promise<Task[]> {
    const { after } = await this.#changes.change(id, decide);
    return [after, ...(await this.#settleSuccessor(after))];
  }

  /** RUNNING tasks that went out on a receive stream, in pages by ID. */
  async heldBy(stream: string, afterId: number, limit: number): Promise<Task[]> {
    const options = { sort: { _id: 1 }, limit, projection: DECISION_FIELDS } as const;
    return this.#tasks.find({ stream, _id: { $gt: afterId } }, options).toArray();
  }

  /** DELAYED tasks that are due, the longest first. */
  async due(limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { state: "DELAYED", availableAt: { $lte: this.#now() } };
    return this.#tasks.find(filter, { sort: { availableAt: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** Tasks that have not ended by their deadline, the latest first. */
  async overdue(limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { deadline: { $lte: this.#now() } };
    return this.#tasks.find(filter, { sort: { deadline: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** RUNNING tasks whose lease has run out, the longest first. */
  async expired(limit: number): Promise<Task[]> {
    const filter: Filter<Task> = { state: "RUNNING", leaseUntil: { $lt: this.#now() } };
    return this.#tasks.find(filter, { sort: { leaseUntil: 1 }, limit, projection: DECISION_FIELDS }).toArray();
  }

  /** RUNNING tasks of Longshore's own services. */
  async runningInternal(limit: number): Promise<Task[]> {
    const options = { hint: "lease", limit, projection: DECISION_FIELDS };
    return this.#tasks.find({ state: "RUNNING", internal: true }, options).toArray();
  }

  /**
   * Goes through the chained tasks and does what the node that made one, or that ended its predecessor, may have died
   * before doing.
   */
  async settleChains(signal: AbortSignal): Promise<void> {
    let batch: Task[] = [];
    const options = { projection: { next: 1 }, hint: "chained" };
    for await (const task of this.#tasks.find({ state: "CHAINED" }, options)) {
      if (signal.aborted) return;
      batch.push(task);
      if (batch.length < 500) continue;
      await this.#settleBatch(batch);
      batch = [];
    }
    await this.#settleBatch(batch);
  }

  async #settleBatch(chained: Task[]): Promise<void> {
    const ids = chained.map((task) => task.next ?? 0);
    const options = { projection: { state: 1, prior: 1 } };
    const predecessors = await this.#tasks.find({ _id: { $in: ids } }, options).toArray();
    const known = new Map(predecessors.map((task) => [task._id, task]));
    for (const task of chained) {
      const predecessor = known.get(task.next ?? 0);
      if (!predecessor) {
        await this.change(task._id, (stored, now) => follow(stored, forgotten(task.next), now));
      } else if (predecessor.prior !== task._id || isEnded(predecessor.state)) {
        await this.#link(task);
      }
    }
  }

  /** Tells the predecessor of its successor; settles the successor where the predecessor has ended meanwhile. */
  async #link(task: Task): Promise<void> {
    const predecessor = await this.#tasks.findOneAndUpdate(
      { _id: task.next },
      { $set: { prior: task._id } },
      { returnDocument: "after" },
    );
    if (predecessor && isEnded(predecessor.state)) await this.#settleSuccessor(predecessor);
  }

  /** Carries the end of a task on along its chain; answers the tasks that it cancelled. */
  async #settleSuccessor(ended: Task): Promise<Task[]> {
    const cancelled: Task[] = [];
    let predecessor = ended;
    while (predecessor.prior) {
      const from = predecessor;
      const { before, after } = await this.#changes.change(from.prior ?? 0, (task, now) => follow(task, from, now));
      if (after.state !== "CANCEL") break;
      if (before !== after) cancelled.push(after);
      predecessor = after;
    }
    return cancelled;
  }

  async #insert(items: Create[]): Promise<Outcome<Created>[]> {
    const ids = await this.#ids.take(items.length);
    const now = this.#now();
    const tasks = items.map(({ task }, index): Task => ({
      _id: ids[index] ?? 0,
      ...task,
      readyAt: now,
      createTime: now,
      updateTime: now,
    }));
    const refused = new Map<number, { keyPattern?: object }>();
    try {
      await this.#tasks.insertMany(tasks, { ordered: false });
    } catch (error) {
      const writeErrors = (error as { writeErrors?: { index: number; keyPattern?: object }[] }).writeErrors;
      if (!isDuplicateKey(error) || !writeErrors) throw error;
      for (const writeError of writeErrors) refused.set(writeError.index, writeError);
    }
    const hashes = [...refused.keys()].map((index) => tasks[index]?.hash ?? "");
    const existing = hashes.length ? await this.#tasks.find({ hash: { $in: hashes } }).toArray() : [];
    const byHash = new Map(existing.map((task) => [task.hash, task]));
    const channels = new Set<string>();
    const created = new Map<string, number>();
    const outcomes = tasks.map((task, index): Outcome<Created> => {
      if (!refused.has(index)) {
        if (task.state === "READY") channels.add(task.channel);
        created.set(task.channel, (created.get(task.channel) ?? 0) + 1);
        return { value: { task, created: true } };
      }
      const other = byHash.get(task.hash);
      if (!other) {
        return { error: failedPrecondition(`Task.Next: task ${task.next} has a successor already`) };
      }
      if (sameRequest(other, { ...task, input: items[index]?.request.input ?? "" })) {
        return { value: { task: other, created: false } };
      }
      return {
        error: failedPrecondition(`Task.HashCode: ${task.hash} is known with another Channel, Owner or Input`),
      };
    });
    for (const [channel, count] of created) this.#listener.created(channel, count);
    if (channels.size) this.#listener.available([...channels], false);
    return outcomes;
  }

  #tell(changed: Changed[]): void {
    this.#listener.changed(changed);
    const channels = new Set<string>();
    const ended: Task[] = [];
    for (const { after } of changed) {
      if (after.state === "READY") channels.add(after.channel);
      if (isEnded(after.state)) ended.push(after);
    }
    for (const channel of channels) this.reorder(channel);
    if (channels.size) this.#listener.available([...channels], true);
    if (ended.length) this.#listener.ended(ended);
  }
}

function runNumber(key: string, hash: string): number {
  return hash === key ? 1 : Number(hash.slice(key.length + 1));
}

/** Stands for a predecessor that retention has removed: it ended long ago, how is not known any more. */
function forgotten(id: number | undefined): Task {
  return { _id: id ?? 0, state: "CANCEL" } as Task;
}

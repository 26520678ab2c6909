/** Pages of tasks, for people: by tags, and those that failed for good. Each reads an index and no more than a bound. */
import type { Collection, Filter } from "../../lib/datastore/datastore.ts";
import { MAX_ANSWER_BYTES, sizeOf } from "./task-size.ts";
import type { TaskTags } from "./task-tags.ts";
import type { PublicState, Task } from "./task.ts";
import { publicState } from "./task.ts";

export interface TaskFilter {
  channel?: string;
  state?: PublicState;
  owner?: string;
  /** It has all of these. */
  tags?: Record<string, string>;
  endedFrom?: Date;
  endedBefore?: Date;
}

/** Where a page ends in the order of times and then IDs, the newest first. */
export interface TaskPlace {
  _id: number;
  time: Date;
}

export interface TaskPage {
  tasks: Task[];
  /** Undefined: there is no further page. */
  next?: TaskPlace;
}

/**
 * What is searched for: `owner` where all of it is one owner's, `created` where it was made at certain times (conditions on
 * `createTime` alone), and beyond that whatever a filter can say.
 */
export interface TaskSearch {
  filter: Filter<Task>;
  owner?: string;
  created?: Filter<Task>[];
}

/** Tasks that one page looks at, whether they are in it or not. */
const MAX_LOOKED_AT = 5_000;
const BATCH = 100;
const NEWEST_FIRST = { createTime: -1, _id: -1 } as const;

export class TaskQueries {
  readonly #tasks: Collection<Task>;
  readonly #tags: TaskTags;

  constructor(tasks: Collection<Task>, tags: TaskTags) {
    this.#tasks = tasks;
    this.#tags = tags;
  }

  /** Tasks with the filter's tags (one at least), the last made first. */
  byTags(filter: TaskFilter, size: number, after: TaskPlace | undefined): Promise<TaskPage> {
    return fillPage(this.#tagged(filter, after), filter, size, createdAt);
  }

  /** Tasks of the filter's channel that ended FAILURE, the last first. */
  failed(filter: TaskFilter, size: number, after: TaskPlace | undefined): Promise<TaskPage> {
    const { channel, endedFrom = new Date(0), endedBefore } = filter;
    const query: Filter<Task> = { channel, state: "FAILURE", endTime: { $gte: endedFrom } };
    if (endedBefore) query.endTime = { $gte: endedFrom, $lt: endedBefore };
    if (after) {
      query.endTime = { $gte: endedFrom, $lte: after.time };
      query.$or = [{ endTime: { $lt: after.time } }, { _id: { $lt: after._id } }];
    }
    const found = this.#tasks.find(query, { sort: { endTime: -1, _id: -1 }, limit: MAX_LOOKED_AT });
    return fillPage(found, filter, size, ({ endTime, createTime }) => endTime ?? createTime);
  }

  /**
   * Tasks that match, the last made first. A page looks at so many of them, and may hold none and still have one after it.
   * Their inputs are left out.
   */
  async search(
    { filter, owner, created = [] }: TaskSearch,
    size: number,
    after: TaskPlace | undefined,
  ): Promise<TaskPage> {
    const index: Filter<Task>[] = owner === undefined ? [...created] : [{ owner }, ...created];
    if (after) {
      const { _id, time } = after;
      index.push({ createTime: { $lte: time } }, { $or: [{ createTime: { $lt: time } }, { _id: { $lt: _id } }] });
    }
    const options = { sort: NEWEST_FIRST, hint: owner === undefined ? "created" : "owner" };
    const window = { ...options, skip: MAX_LOOKED_AT - 1, limit: 1, projection: { createTime: 1 } };
    const [last] = await this.#tasks.find(all(index), window).toArray();
    if (last) {
      const { _id, createTime } = last;
      index.push(
        { createTime: { $gte: createTime } },
        { $or: [{ createTime: { $gt: createTime } }, { _id: { $gte: _id } }] },
      );
    }
    const query = { ...options, limit: size + 1, projection: { input: 0 } };
    const page = await fillPage(this.#tasks.find(all([...index, filter]), query), {}, size, createdAt);
    return page.next || !last ? page : { ...page, next: { _id: last._id, time: last.createTime } };
  }

  async *#tagged({ tags = {} }: TaskFilter, after: TaskPlace | undefined): AsyncGenerator<Task> {
    const [first] = Object.entries(tags);
    if (!first) return;
    let place = after ? { _id: after._id, createTime: after.time } : null;
    for (;;) {
      const entries = await this.#tags.find(...first, place, BATCH);
      const found = await this.#tasks.find({ _id: { $in: entries.map(({ _id }) => _id) } }).toArray();
      const tasks = new Map(found.map((task) => [task._id, task]));
      for (const { _id } of entries) yield* [tasks.get(_id) ?? []].flat();
      place = entries.at(-1) ?? null;
      if (!place || entries.length < BATCH) return;
    }
  }
}

function all(filters: Filter<Task>[]): Filter<Task> {
  return filters.length === 0 ? {} : { $and: filters };
}

function createdAt({ createTime }: Task): Date {
  return createTime;
}

async function fillPage(
  found: AsyncIterable<Task>,
  filter: TaskFilter,
  size: number,
  timeOf: (task: Task) => Date,
): Promise<TaskPage> {
  const tasks: Task[] = [];
  let bytes = 0;
  let looked = 0;
  let next: TaskPlace | undefined;
  for await (const task of found) {
    const fits = matches(task, filter);
    bytes += fits ? sizeOf(task) : 0;
    // There is this one still: where the page ends is the place of the one before.
    if (tasks.length === size || (tasks.length > 0 && bytes > MAX_ANSWER_BYTES))
      return next ? { tasks, next } : { tasks };
    if (fits) tasks.push(task);
    next = { _id: task._id, time: timeOf(task) };
    looked += 1;
    if (looked === MAX_LOOKED_AT) return { tasks, next };
  }
  return { tasks };
}

function matches(task: Task, { channel, state, owner, tags = {} }: TaskFilter): boolean {
  if (channel !== undefined && task.channel !== channel) return false;
  if (state !== undefined && publicState(task.state) !== state) return false;
  if (owner !== undefined && task.owner !== owner) return false;
  return Object.entries(tags).every(([name, value]) => task.tags?.[name] === value);
}

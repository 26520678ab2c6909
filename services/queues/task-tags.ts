/**
 * Which tasks have which tags: an entry a tag of a task, beside the tasks, so that tasks without tags pay nothing for them.
 * An entry is made before its task and may outlive it: the task itself says what is true.
 */
import type { Collection, Datastore, Filter } from "../../lib/datastore/datastore.ts";
import type { Task } from "./task.ts";

interface Entry {
  /** `TASK/NAME`. */
  _id: string;
  /** `NAME=VALUE`. */
  tag: string;
  task: number;
  createTime: Date;
  /** When its task is removed. */
  expireAt?: Date;
}

/** Where in the order of tasks, the newest first. */
export type TaskPosition = Pick<Task, "_id" | "createTime">;

export class TaskTags {
  readonly #entries: Collection<Entry>;

  private constructor(entries: Collection<Entry>) {
    this.#entries = entries;
  }

  static async open(datastore: Datastore): Promise<TaskTags> {
    const entries = await datastore.collection<Entry>("task_tags", [
      { name: "tag", key: { tag: 1, createTime: -1, task: -1 } },
      { name: "task", key: { task: 1 } },
      {
        name: "expiry",
        key: { expireAt: 1 },
        expireAfterSeconds: 0,
        partialFilterExpression: { expireAt: { $exists: true } },
      },
    ]);
    return new TaskTags(entries);
  }

  /** For tasks that are about to be stored. */
  async add(tasks: Task[]): Promise<void> {
    const entries = tasks.flatMap(({ _id, tags = {}, createTime }) =>
      Object.entries(tags).map(([name, value]): Entry => {
        return { _id: `${_id}/${name}`, tag: `${name}=${value}`, task: _id, createTime };
      }),
    );
    if (entries.length) await this.#entries.insertMany(entries);
  }

  /** For tasks that are not there (any more). */
  async remove(ids: number[]): Promise<void> {
    if (ids.length) await this.#entries.deleteMany({ task: { $in: ids } });
  }

  /** For tasks that have just ended, or that have begun again. */
  async follow(tasks: Task[]): Promise<void> {
    const tagged = tasks.filter(({ tags }) => tags !== undefined);
    if (tagged.length === 0) return;
    const operations = tagged.map(({ _id, expireAt }) => {
      const update = expireAt ? { $set: { expireAt } } : { $unset: { expireAt: "" as const } };
      return { updateMany: { filter: { task: _id }, update } };
    });
    await this.#entries.bulkWrite(operations, { ordered: false });
  }

  /** The tasks that have the tag, the newest first, those after a position. */
  async find(name: string, value: string, after: TaskPosition | null, limit: number): Promise<TaskPosition[]> {
    const tag = `${name}=${value}`;
    const filter: Filter<Entry> = { tag };
    if (after) {
      filter.createTime = { $lte: after.createTime };
      filter.$or = [{ createTime: { $lt: after.createTime } }, { task: { $lt: after._id } }];
    }
    const found = await this.#entries.find(filter, { sort: { createTime: -1, task: -1 }, limit }).toArray();
    return found.map(({ task, createTime }) => ({ _id: task, createTime }));
  }
}

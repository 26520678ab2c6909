/** Bulk loads in the datastore. A change of state is compared and set: any node may try it, and one of them does it. */
import type { Collection, Datastore, Filter, IndexDescription, Sort } from "../../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../../lib/datastore/datastore.ts";
import type { LoadTask, State, WholeTask } from "./load-task.ts";
import { OPEN_STATES } from "./load-task.ts";

const INDEXES: IndexDescription[] = [
  { key: { account: 1, createTime: -1, _id: -1 }, name: "account" },
  { key: { account: 1, state: 1, createTime: -1, _id: -1 }, name: "state" },
  { key: { account: 1, state: 1, queueTime: 1, _id: 1 }, name: "queue" },
  // One load of an account runs at a time, whatever nodes try to start.
  { key: { account: 1 }, name: "running", unique: true, partialFilterExpression: { state: "RUNNING" } },
  { key: { run: 1 }, name: "run", unique: true },
  { key: { due: 1 }, name: "due" },
];

const WITHOUT_FILES = { files: 0 } as const;
const NEWEST = { createTime: -1, _id: -1 } as const;

export class TaskStore {
  readonly #tasks: Collection<WholeTask>;
  readonly now: () => Date;

  private constructor(tasks: Collection<WholeTask>, now: () => Date) {
    this.#tasks = tasks;
    this.now = now;
  }

  static async open(datastore: Datastore): Promise<TaskStore> {
    return new TaskStore(await datastore.collection<WholeTask>("saas_tasks", INDEXES), () => datastore.now());
  }

  /** False where one of that name is there. */
  async insert(task: WholeTask): Promise<boolean> {
    try {
      await this.#tasks.insertOne(task);
      return true;
    } catch (error) {
      if (isDuplicateKey(error)) return false;
      throw error;
    }
  }

  async find(id: string): Promise<LoadTask | undefined> {
    return this.#findOne({ _id: id });
  }

  /** The task with its files; undefined where it is gone. */
  async whole({ _id, run }: LoadTask): Promise<WholeTask | undefined> {
    return (await this.#tasks.findOne({ _id, run })) ?? undefined;
  }

  async findRun(run: string): Promise<LoadTask | undefined> {
    return this.#findOne({ run });
  }

  /** Those that have not ended; counts to `limit`. */
  countOpen(account: string, limit: number): Promise<number> {
    return this.#tasks.countDocuments({ account, state: { $in: [...OPEN_STATES] } }, { limit });
  }

  /** The newest first, in these states or in any. */
  async list(account: string, limit: number, states?: readonly State[]): Promise<LoadTask[]> {
    const filters = states ? states.map((state) => ({ account, state })) : [{ account }];
    const found = await Promise.all(
      filters.map((filter) => this.#tasks.find(filter, { sort: NEWEST, limit, projection: WITHOUT_FILES }).toArray()),
    );
    const order = (a: LoadTask, b: LoadTask) => b.createTime.getTime() - a.createTime.getTime();
    return found.flat().sort(order).slice(0, limit);
  }

  async running(account: string): Promise<LoadTask | undefined> {
    return this.#findOne({ account, state: "RUNNING" });
  }

  /** Whose turn it is. */
  async next(account: string): Promise<LoadTask | undefined> {
    return this.#findOne({ account, state: "QUEUED" }, { queueTime: 1, _id: 1 });
  }

  /** The task as it is then; undefined where it is another by now, or was in none of these states. */
  async change({ _id, run }: LoadTask, from: readonly State[], set: Partial<LoadTask>): Promise<LoadTask | undefined> {
    const filter = { _id, run, state: { $in: [...from] } };
    const options = { returnDocument: "after", projection: WITHOUT_FILES } as const;
    return (await this.#tasks.findOneAndUpdate(filter, { $set: set }, options)) ?? undefined;
  }

  /** From QUEUED to RUNNING; undefined where another of the account runs, or this one is not QUEUED any more. */
  async start(task: LoadTask, due: Date): Promise<LoadTask | undefined> {
    try {
      return await this.change(task, ["QUEUED"], { state: "RUNNING", runTime: this.now(), due });
    } catch (error) {
      if (isDuplicateKey(error)) return undefined;
      throw error;
    }
  }

  due(limit: number): Promise<LoadTask[]> {
    return this.#tasks
      .find({ due: { $lte: this.now() } }, { sort: { due: 1 }, limit, projection: WITHOUT_FILES })
      .toArray();
  }

  async remove({ _id, run }: LoadTask): Promise<void> {
    await this.#tasks.deleteOne({ _id, run });
  }

  async #findOne(filter: Filter<WholeTask>, sort?: Sort): Promise<LoadTask | undefined> {
    return (await this.#tasks.findOne(filter, { ...(sort && { sort }), projection: WITHOUT_FILES })) ?? undefined;
  }
}

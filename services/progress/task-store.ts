/** Data tasks and their steps in the datastore. A step that is stored is what happened; the task follows it. */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Collection, Datastore, Filter, IndexDescription } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { LongshoreError, notFound } from "../../lib/errors.ts";
import type { Draft, Step, Verdict } from "./audit.ts";
import { NO_HASH, hashStep, verifyTrail } from "./audit.ts";
import type { DataTask, Told } from "./data-task.ts";
import { tell } from "./data-task.ts";
import type { State } from "./states.ts";
import { hasEnded } from "./states.ts";

const TASK_INDEXES: IndexDescription[] = [
  { name: "created", key: { createTime: -1, _id: -1 } },
  { name: "state", key: { state: 1, createTime: -1, _id: -1 } },
  { name: "submitter", key: { submitter: 1, createTime: -1, _id: -1 } },
  { name: "submitterState", key: { submitter: 1, state: 1, createTime: -1, _id: -1 } },
  { name: "look", key: { lookAt: 1 }, partialFilterExpression: { lookAt: { $exists: true } } },
];
const STEP_INDEXES: IndexDescription[] = [{ name: "task", key: { task: 1, number: 1 }, unique: true }];
const NEWEST_FIRST = { createTime: -1, _id: -1 } as const;

/** Of one task: approvals and downloads have no bound of their own. */
const MAX_STEPS = 10_000;
/** Others write the trail as well: each of them is there in its turn. */
const TRIES = 200;
const LOOK_AGAIN_MS = 60_000;
const EPOCH = Date.UTC(2020, 0, 1);
const RANDOM_BITS = 22;

export type NewDataTask = Omit<DataTask, "_id" | "createTime" | "state" | "version" | "updateTime" | "lookAt">;

/** A task and what is known of it. */
export interface Known {
  task: DataTask;
  told: Told;
  steps: readonly Step[];
}

export interface Search {
  state?: State;
  submitter?: string;
}

export interface Place {
  id: string;
  createTime: Date;
}

export class TaskStore {
  readonly #tasks: Collection<DataTask>;
  readonly #steps: Collection<Step>;
  readonly #now: () => Date;

  private constructor(tasks: Collection<DataTask>, steps: Collection<Step>, now: () => Date) {
    this.#tasks = tasks;
    this.#steps = steps;
    this.#now = now;
  }

  static async open(datastore: Datastore): Promise<TaskStore> {
    const tasks = await datastore.collection<DataTask>("data_tasks", TASK_INDEXES);
    const steps = await datastore.collection<Step>("data_task_steps", STEP_INDEXES);
    return new TaskStore(tasks, steps, () => datastore.now());
  }

  now(): Date {
    return this.#now();
  }

  /** Stores a task with its first step. `id` is given where the task may be made twice: then it is there once. */
  async create(request: NewDataTask, first: Draft, id?: string): Promise<Known> {
    const createTime = this.#now();
    const task: DataTask = {
      ...request,
      _id: id ?? newId(createTime),
      createTime,
      state: first.state,
      version: 0,
      updateTime: createTime,
      lookAt: new Date(createTime.getTime() + LOOK_AGAIN_MS),
    };
    await this.#tasks.insertOne(task).catch((error: unknown) => {
      if (id === undefined || !isDuplicateKey(error)) throw error;
    });
    return (await this.change(task._id, ({ version }) => (version === 0 ? first : undefined))).known;
  }

  async load(id: string): Promise<Known> {
    const task = await this.#tasks.findOne({ _id: id });
    if (!task) throw notFound(`task_id: there is no task ${id}`);
    const steps = await this.#steps.find({ task: id }, { sort: { number: 1 }, limit: MAX_STEPS }).toArray();
    const last = steps.at(-1);
    // Whoever added it may have died before the task followed.
    const behind = last !== undefined && last.number > task.version;
    return { task: behind ? await this.#follow(task, last) : task, told: tell(steps), steps };
  }

  /**
   * Adds the step that `decide` makes of what is known, again where another step came in between; undefined adds none. Answers
   * what is known afterwards, and whether there is a step more.
   */
  async change(
    id: string,
    decide: (told: Told, task: DataTask) => Draft | undefined,
  ): Promise<{ known: Known; changed: boolean }> {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const known = await this.load(id);
      const draft = decide(known.told, known.task);
      if (!draft) return { known, changed: false };
      if (known.steps.length >= MAX_STEPS) {
        throw new LongshoreError("RESOURCE_EXHAUSTED", `task ${id} has ${MAX_STEPS} steps: it takes no more`);
      }
      const step = await this.#append(id, known.told.version + 1, draft);
      if (!step) continue;
      const steps = [...known.steps, step];
      return { known: { task: await this.#follow(known.task, step), told: tell(steps), steps }, changed: true };
    }
    throw new LongshoreError("ABORTED", `task ${id} is changed by others again and again: try again later`);
  }

  /** Tasks that must be looked at by now; they must be looked at again only in a while. */
  async due(limit: number): Promise<string[]> {
    const now = this.#now();
    const tasks = await this.#tasks.find({ lookAt: { $lte: now } }, { sort: { lookAt: 1 }, limit }).toArray();
    const ids = tasks.map(({ _id }) => _id);
    await this.#tasks.updateMany({ _id: { $in: ids } }, { $set: { lookAt: new Date(now.getTime() + LOOK_AGAIN_MS) } });
    return ids;
  }

  /** The last submitted first. */
  page({ state, submitter }: Search, limit: number, after?: Place): Promise<DataTask[]> {
    const filter: Filter<DataTask> = {
      ...(state && { state }),
      ...(submitter && { submitter }),
      ...(after && {
        $or: [{ createTime: { $lt: after.createTime } }, { createTime: after.createTime, _id: { $lt: after.id } }],
      }),
    };
    // Left to itself SQLite looks at all that the submitter has.
    const hint = state && submitter ? { hint: "submitterState" } : {};
    return this.#tasks.find(filter, { sort: NEWEST_FIRST, limit, ...hint }).toArray();
  }

  verify(): Promise<Verdict> {
    return verifyTrail(this.#steps.find({}, { sort: { _id: 1 } }));
  }

  /** Undefined where another step of the task was quicker. */
  async #append(task: string, number: number, draft: Draft): Promise<Step | undefined> {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const last = await this.#steps.findOne({}, { sort: { _id: -1 } });
      const place = { ...draft, _id: (last?._id ?? 0) + 1, task, number, time: this.#now() };
      const step: Step = { ...place, hash: hashStep(last?.hash ?? NO_HASH, place) };
      try {
        await this.#steps.insertOne(step);
        return step;
      } catch (error) {
        if (!isDuplicateKey(error)) throw error;
        if (Object.hasOwn(error.keyPattern, "task")) return undefined;
      }
      await sleep(Math.random() * Math.min(attempt, 20));
    }
    throw new LongshoreError("ABORTED", "the trail is written by many at once: try again later");
  }

  async #follow(task: DataTask, { state, number, time }: Step): Promise<DataTask> {
    const over = hasEnded(state);
    const followed = { ...task, state, version: number, updateTime: time };
    await this.#tasks.updateOne(
      { _id: task._id, version: { $lt: number } },
      {
        $set: {
          state,
          version: number,
          updateTime: time,
          ...(!over && { lookAt: new Date(time.getTime() + LOOK_AGAIN_MS) }),
        },
        ...(over && { $unset: { lookAt: "" } }),
      },
    );
    return followed;
  }
}

/** Milliseconds and chance: nodes need not ask each other. */
function newId(now: Date): string {
  return String((BigInt(now.getTime() - EPOCH) << BigInt(RANDOM_BITS)) | BigInt(randomInt(2 ** RANDOM_BITS)));
}

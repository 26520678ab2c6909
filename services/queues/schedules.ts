/** Tasks that are made again and again, at the times of a cron expression. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyBulkWriteOperation, Collection, Datastore, Filter } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { LongshoreError, notFound, viewError } from "../../lib/errors.ts";
import type { Progress, Timing } from "./schedule.ts";
import { dueTimes, hashOf, revise } from "./schedule.ts";
import type { TaskRequest } from "./task-request.ts";
import { MAX_ANSWER_BYTES } from "./task-size.ts";

export interface SchedulesOptions {
  datastore: Datastore;
  /** Stores a task; a known HashCode makes none. Throws where it is refused. */
  create: (request: TaskRequest) => Promise<unknown>;
  onError: (error: unknown) => void;
}

export interface Schedule extends Timing, Progress {
  /** Its name. */
  _id: string;
  /** The TaskRequest of each run, in JSON: names of tags may hold dots, which names of fields should not. */
  request: string;
  /** The last time that a task was to be made for. */
  lastAt?: Date;
  /** What became of it: the task's HashCode, or why there is none. */
  lastHash?: string;
  lastError?: string;
}

export interface SchedulePut extends Timing {
  name: string;
  request: TaskRequest;
}

const MAX_SCHEDULES = 10_000;
const INTERVAL_MS = 1_000;
/** The first of several nodes is done while the others still sleep. */
const SPREAD_MS = 25;
const PUT_ROUNDS = 10;
/** Schedules that are seen to at once, and tasks of one schedule that are made at once. */
const RUNS_AT_ONCE = 100;
const CREATES_AT_ONCE = 50;
const OTHER_FIELDS_BYTES = 1_000;

export class Schedules {
  readonly #schedules: Collection<Schedule>;
  readonly #options: SchedulesOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  private constructor(schedules: Collection<Schedule>, options: SchedulesOptions) {
    this.#schedules = schedules;
    this.#options = options;
  }

  static async open(options: SchedulesOptions): Promise<Schedules> {
    const schedules = await options.datastore.collection<Schedule>("schedules", [
      { name: "due", key: { nextAt: 1 }, partialFilterExpression: { paused: false } },
    ]);
    return new Schedules(schedules, options);
  }

  /** Begins to make tasks when they are due. Every node does; each time makes one task. */
  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  now(): Date {
    return this.#options.datastore.now();
  }

  /** Stores a schedule, in the place of the one of that name where there is one. */
  async put({ name, request, ...timing }: SchedulePut): Promise<Schedule> {
    for (let round = 0; round < PUT_ROUNDS; round += 1) {
      const before = await this.#schedules.findOne({ _id: name });
      const fields = { ...timing, ...revise(before, timing, this.now()), request: JSON.stringify(request) };
      const stored = before ? await this.#replace(before, fields) : await this.#insert({ _id: name, ...fields });
      if (stored) return stored;
    }
    throw new LongshoreError("ABORTED", `schedule ${name} is changed by others again and again, try again later`);
  }

  /** The schedule of that name; NOT_FOUND where there is none. */
  async get(name: string): Promise<Schedule> {
    const schedule = await this.#schedules.findOne({ _id: name });
    if (!schedule) throw notFound(`Name: there is no schedule ${name}`);
    return schedule;
  }

  /** The schedules whose names come after that one, fewer than `limit` where more would not fit into one answer. */
  async list(after: string, limit: number): Promise<{ schedules: Schedule[]; more: boolean }> {
    const schedules: Schedule[] = [];
    let bytes = 0;
    const options = { sort: { _id: 1 }, limit: limit + 1 } as const;
    for await (const schedule of this.#schedules.find({ _id: { $gt: after } }, options)) {
      bytes += OTHER_FIELDS_BYTES + Buffer.byteLength(schedule.request);
      const full = schedules.length === limit || (schedules.length > 0 && bytes > MAX_ANSWER_BYTES);
      if (full) return { schedules, more: true };
      schedules.push(schedule);
    }
    return { schedules, more: false };
  }

  /** Removes a schedule and answers it; NOT_FOUND where there is none. The tasks that it made stay. */
  async delete(name: string): Promise<Schedule> {
    const schedule = await this.get(name);
    await this.#schedules.deleteOne({ _id: name });
    return schedule;
  }

  /** Null where another of that name was stored first. */
  async #insert(schedule: Schedule): Promise<Schedule | null> {
    const count = await this.#schedules.countDocuments({ _id: { $gt: "" } }, { limit: MAX_SCHEDULES });
    if (count >= MAX_SCHEDULES) {
      throw new LongshoreError(
        "RESOURCE_EXHAUSTED",
        `there are ${MAX_SCHEDULES} schedules, which is as many as may be`,
      );
    }
    try {
      await this.#schedules.insertOne(schedule);
      return schedule;
    } catch (error) {
      if (isDuplicateKey(error)) return null;
      throw error;
    }
  }

  /** Null where it has changed meanwhile. */
  async #replace(before: Schedule, fields: Omit<Schedule, "_id">): Promise<Schedule | null> {
    const same: Filter<Schedule> = { ...asRead(before), paused: before.paused };
    return this.#schedules.findOneAndUpdate(same, { $set: fields }, { returnDocument: "after" });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = INTERVAL_MS * (0.75 + Math.random() / 2);
      try {
        const nextAt = await this.#earliest();
        const early = nextAt ? nextAt.getTime() - this.now().getTime() : Infinity;
        if (early <= 0) {
          await this.#runDue();
          continue;
        }
        pause = Math.min(pause, early + Math.random() * SPREAD_MS);
      } catch (error) {
        this.#options.onError(error);
      }
      await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** The earliest time of any schedule that is due, or will be before this node looks again. */
  async #earliest(): Promise<Date | undefined> {
    const filter: Filter<Schedule> = {
      paused: false,
      nextAt: { $lte: new Date(this.now().getTime() + 2 * INTERVAL_MS) },
    };
    const first = await this.#schedules.findOne(filter, { sort: { nextAt: 1 }, projection: { nextAt: 1 } });
    return first?.nextAt;
  }

  /** Tries each schedule that is due once; throws the first of what failed, once all are tried. */
  async #runDue(): Promise<void> {
    const failures: unknown[] = [];
    let batch: Schedule[] = [];
    const filter: Filter<Schedule> = { paused: false, nextAt: { $lte: this.now() } };
    for await (const schedule of this.#schedules.find(filter, { sort: { nextAt: 1 } })) {
      if (this.#stop.signal.aborted) return;
      if (batch.push(schedule) < RUNS_AT_ONCE) continue;
      failures.push(...(await this.#runBatch(batch)));
      batch = [];
    }
    failures.push(...(await this.#runBatch(batch)));
    if (failures.length) throw failures[0];
  }

  /**
   * Makes what is due, then moves those schedules on; answers what failed. What is done twice, by several nodes or because one
   * died in between, finds the task by its HashCode, and does not move on a second time.
   */
  async #runBatch(batch: Schedule[]): Promise<unknown[]> {
    const runs = await Promise.allSettled(batch.map((schedule) => this.#makeDue(schedule)));
    const moves = runs.flatMap((run, index): AnyBulkWriteOperation<Schedule>[] => {
      const schedule = batch[index];
      if (run.status === "rejected" || !run.value || !schedule) return [];
      return [{ updateOne: { filter: asRead(schedule), update: { $set: run.value } } }];
    });
    if (moves.length) await this.#schedules.bulkWrite(moves, { ordered: false });
    return runs.flatMap((run) => (run.status === "rejected" ? [run.reason as unknown] : []));
  }

  /** Makes the tasks of the times that are due; answers how far the schedule is then, nothing where the node stops before. */
  async #makeDue(schedule: Schedule): Promise<Partial<Schedule> | undefined> {
    const { times, nextAt } = dueTimes(schedule, this.now());
    const request = JSON.parse(schedule.request) as TaskRequest;
    const progress: Partial<Schedule> = { nextAt };
    for (let from = 0; from < times.length; from += CREATES_AT_ONCE) {
      if (this.#stop.signal.aborted) return undefined;
      const some = times.slice(from, from + CREATES_AT_ONCE);
      const made = await Promise.all(some.map((time) => this.#make(schedule._id, request, time)));
      Object.assign(progress, made.at(-1));
    }
    return progress;
  }

  /** Throws where the task could not be made for now; why it is refused is for the schedule to tell. */
  async #make(name: string, request: TaskRequest, time: Date): Promise<Partial<Schedule>> {
    const hash = hashOf(name, time);
    try {
      await this.#options.create({ ...request, hash });
      return { lastAt: time, lastHash: hash, lastError: "" };
    } catch (error) {
      const { http, message } = viewError(error);
      if (http !== 400) throw new Error(`schedule ${name}: no task for ${time.toISOString()}`, { cause: error });
      return { lastAt: time, lastHash: "", lastError: message };
    }
  }
}

/** Finds the schedule where it has not moved on, and its times are still those. */
function asRead({ _id, cron, timeZone, nextAt }: Schedule): Filter<Schedule> {
  return { _id, cron, timeZone, nextAt };
}

/** The log lines that workers report of their tasks. */
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import type { Task } from "./task.ts";

export interface LogLine {
  /** `TASK.NUMBER`. */
  _id: string;
  task: number;
  /** From 1. */
  number: number;
  time: Date;
  text: string;
  /** Some time after the task can be expected to have gone. */
  expireAt: Date;
}

/** Lines of one task that are kept: the last. */
export const MAX_LINES = 1_000;
/** Lines answered at once: 4 KiB each, within a megabyte. */
const PAGE = 200;

export class TaskLogs {
  readonly #lines: Collection<LogLine>;

  private constructor(lines: Collection<LogLine>) {
    this.#lines = lines;
  }

  static async open(datastore: Datastore): Promise<TaskLogs> {
    const lines = await datastore.collection<LogLine>("task_logs", [
      { name: "lines", key: { task: 1, number: 1 } },
      { name: "expiry", key: { expireAt: 1 }, expireAfterSeconds: 0 },
    ]);
    return new TaskLogs(lines);
  }

  /** Adds the last lines of a task, which has counted them already. */
  async append({ _id, logged = 0 }: Task, texts: string[], time: Date, keepMs: number): Promise<void> {
    const first = logged - texts.length + 1;
    const expireAt = new Date(time.getTime() + keepMs);
    const lines = texts.map((text, index): LogLine => {
      const number = first + index;
      return { _id: `${_id}.${number}`, task: _id, number, time, text, expireAt };
    });
    await this.#lines.insertMany(lines);
    if (logged > MAX_LINES) await this.#lines.deleteMany({ task: _id, number: { $lte: logged - MAX_LINES } });
  }

  /** The lines after the one of that number, the oldest first, as many as one answer holds. */
  read(task: number, after: number): Promise<LogLine[]> {
    return this.#lines.find({ task, number: { $gt: after } }, { sort: { number: 1 }, limit: PAGE }).toArray();
  }
}

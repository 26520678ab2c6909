/** What is in a channel now. Each count reads an index alone. */
import type { Collection, Filter } from "../../lib/datastore/datastore.ts";
import type { Task, TaskState } from "./task.ts";

export interface ChannelCounts {
  ready: number;
  delayed: number;
  chained: number;
  running: number;
  /** Since when the task has been ready that has waited longest; undefined where none is. */
  oldestReadyAt?: Date;
}

export async function countChannel(tasks: Collection<Task>, channel: string): Promise<ChannelCounts> {
  const count = (state: TaskState) => tasks.countDocuments({ channel, state });
  const [ready, delayed, chained, running, oldestReadyAt] = await Promise.all([
    count("READY"),
    count("DELAYED"),
    count("CHAINED"),
    count("RUNNING"),
    oldestReady(tasks, channel),
  ]);
  return { ready, delayed, chained, running, ...(oldestReadyAt ? { oldestReadyAt } : {}) };
}

/** The claim's index has the oldest first only within a priority: this goes from one that is in use to the next. */
async function oldestReady(tasks: Collection<Task>, channel: string): Promise<Date | undefined> {
  const options = {
    sort: { priority: -1, readyAt: 1, _id: 1 },
    limit: 1,
    projection: { priority: 1, readyAt: 1 },
  } as const;
  let oldest: Date | undefined;
  let filter: Filter<Task> = { channel, state: "READY" };
  for (;;) {
    const [first] = await tasks.find(filter, options).toArray();
    if (!first) return oldest;
    if (!oldest || first.readyAt < oldest) oldest = first.readyAt;
    filter = { channel, state: "READY", priority: { $lt: first.priority } };
  }
}

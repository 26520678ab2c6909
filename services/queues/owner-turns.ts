/** In a fair channel: tasks of as many owners as can be, in turns, so that one with many tasks keeps nobody from his few. */
import type { Collection, Filter } from "../../lib/datastore/datastore.ts";
import { sizeOf } from "./task-size.ts";
import type { Task } from "./task.ts";

/** Owners that one claim serves. */
const MAX_OWNERS = 16;
const MAX_BYTES = 8 * 1024 * 1024;
/** Channels of which this node knows whose turn it is. */
const MAX_CHANNELS = 10_000;

const OLDEST_FIRST = { readyAt: 1, _id: 1 } as const;

export class OwnerTurns {
  readonly #tasks: Collection<Task>;
  /** The owner that was served last, by channel. */
  readonly #last = new Map<string, string>();

  constructor(tasks: Collection<Task>) {
    this.#tasks = tasks;
  }

  /**
   * The next tasks of the channel, up to `wanted`: of the highest priority that waits, each owner's oldest first. Undefined where
   * the first to be served was made before its channel was fair: such tasks come in their old order.
   */
  async next(channel: string, wanted: number): Promise<Task[] | undefined> {
    const ready: Filter<Task> = { channel, state: "READY" };
    const [first] = await this.#tasks.find(ready, { sort: { priority: -1, ...OLDEST_FIRST }, limit: 1 }).toArray();
    if (!first) return [];
    if (!first.fair) return undefined;
    const turn: Filter<Task> = { ...ready, fair: true, priority: first.priority };
    const owners = await this.#owners(channel, turn, Math.min(MAX_OWNERS, wanted));
    if (owners.length === 0) return [];
    const limit = Math.ceil(wanted / owners.length);
    const lines = await Promise.all(
      owners.map((owner) => {
        const options = { sort: { owner: 1, ...OLDEST_FIRST }, limit } as const;
        return this.#tasks.find({ ...turn, owner }, options).toArray();
      }),
    );
    const last = owners.at(-1);
    if (last !== undefined) this.#remember(channel, last);
    return interleave(lines, wanted);
  }

  /** The owners whose turn it is, after the one that was served last. */
  async #owners(channel: string, turn: Filter<Task>, count: number): Promise<string[]> {
    const start = this.#last.get(channel) ?? "";
    const owners: string[] = [];
    const seek = async (from: string, until?: string): Promise<void> => {
      let after = from;
      while (owners.length < count) {
        const range = until === undefined ? { $gt: after } : { $gt: after, $lte: until };
        const options = { sort: { owner: 1, ...OLDEST_FIRST }, limit: 1, projection: { owner: 1 } } as const;
        const [task] = await this.#tasks.find({ ...turn, owner: range }, options).toArray();
        if (!task) return;
        owners.push(task.owner);
        after = task.owner;
      }
    };
    await seek(start);
    if (start !== "") await seek("", start);
    return owners;
  }

  #remember(channel: string, owner: string): void {
    this.#last.delete(channel);
    this.#last.set(channel, owner);
    const [oldest] = this.#last.keys();
    if (this.#last.size > MAX_CHANNELS && oldest !== undefined) this.#last.delete(oldest);
  }
}

/** The first of each line, the second of each, and so on. */
function interleave(lines: Task[][], wanted: number): Task[] {
  const tasks: Task[] = [];
  let bytes = 0;
  for (let place = 0; lines.some((line) => place < line.length); place += 1) {
    for (const line of lines) {
      const task = line[place];
      if (!task) continue;
      bytes += sizeOf(task);
      if (tasks.length === wanted || (tasks.length > 0 && bytes > MAX_BYTES)) return tasks;
      tasks.push(task);
    }
  }
  return tasks;
}

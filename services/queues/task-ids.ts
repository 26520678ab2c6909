/** Gives out task IDs from blocks of one counter document, so that no create waits for the counter. */
import type { Collection } from "../../lib/datastore/datastore.ts";

export interface Counter {
  _id: string;
  /** The last number that was given to anybody. */
  value: number;
}

const BLOCK = 1_000;

export class TaskIds {
  readonly #counters: Collection<Counter>;
  #next = 1;
  #last = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(counters: Collection<Counter>) {
    this.#counters = counters;
  }

  /** `count` IDs, each larger than all that this node has given before. */
  take(count: number): Promise<number[]> {
    const taken = this.#tail.then(() => this.#take(count));
    this.#tail = taken.catch(() => undefined);
    return taken;
  }

  async #take(count: number): Promise<number[]> {
    const ids: number[] = [];
    while (ids.length < count) {
      if (this.#next > this.#last) await this.#reserve(Math.max(BLOCK, count - ids.length));
      const until = Math.min(this.#last, this.#next + count - ids.length - 1);
      for (; this.#next <= until; this.#next += 1) ids.push(this.#next);
    }
    return ids;
  }

  async #reserve(size: number): Promise<void> {
    const counter = await this.#counters.findOneAndUpdate(
      { _id: "tasks" },
      { $inc: { value: size } },
      { upsert: true, returnDocument: "after" },
    );
    if (!counter) throw new Error("the task counter could not be read");
    this.#last = counter.value;
    this.#next = counter.value - size + 1;
  }
}

/**
 * Makes one round trip of many concurrent requests. What is added within one turn of the event loop, or while as many
 * groups as allowed are on their way, forms the next group.
 */
import { atEndOfTurn } from "./end-of-turn.ts";

export interface GroupLimits {
  /** Items in a group. */
  size: number;
  /** Groups on their way at once. */
  parallel: number;
  /** Items that may wait; further ones are refused by `overflow`. */
  waiting: number;
  overflow: () => Error;
}

interface Entry<I, O> {
  item: I;
  resolve: (value: O) => void;
  reject: (reason: unknown) => void;
}

/** What became of one item of a group. */
export type Outcome<O> = { value: O } | { error: unknown };

export class GroupCommit<I, O> {
  readonly #run: (items: I[]) => Promise<Outcome<O>[]>;
  readonly #limits: GroupLimits;
  #waiting: Entry<I, O>[] = [];
  #underWay = 0;
  #scheduled = false;

  /** `run` answers one outcome for each item, in their order; where it rejects, all of the group reject. */
  constructor(limits: GroupLimits, run: (items: I[]) => Promise<Outcome<O>[]>) {
    this.#limits = limits;
    this.#run = run;
  }

  add(item: I): Promise<O> {
    if (this.#waiting.length >= this.#limits.waiting) return Promise.reject(this.#limits.overflow());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#underWay >= this.#limits.parallel) return;
    this.#scheduled = true;
    atEndOfTurn("group", () => {
      this.#scheduled = false;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    const group = this.#waiting.splice(0, this.#limits.size);
    this.#underWay += 1;
    this.#schedule();
    try {
      const outcomes = await this.#run(group.map((entry) => entry.item));
      for (const [index, entry] of group.entries()) {
        const outcome = outcomes[index];
        if (outcome === undefined) entry.reject(new Error("the group gave no outcome for an item"));
        else if ("error" in outcome) entry.reject(outcome.error);
        else entry.resolve(outcome.value);
      }
    } catch (error) {
      for (const entry of group) entry.reject(error);
    } finally {
      this.#underWay -= 1;
      this.#schedule();
    }
  }
}

/** Changes of many tasks that an operator asks for: in batches, each its own commit, until all are done or nobody waits. */
import type { Collection, Filter } from "../../lib/datastore/datastore.ts";
import { viewError } from "../../lib/errors.ts";
import type { TaskChains } from "./task-chains.ts";
import type { TaskChanges } from "./task-changes.ts";
import { DECISION_FIELDS } from "./task-changes.ts";
import type { TaskFilter, TaskPlace, TaskQueries } from "./task-queries.ts";
import type { Task, Transition, WaitingState } from "./task.ts";
import { cancel, redrive, WAITING_STATES } from "./task.ts";

const BATCH = 500;

export class TaskSweeps {
  readonly #tasks: Collection<Task>;
  readonly #changes: TaskChanges;
  readonly #chains: TaskChains;
  readonly #queries: TaskQueries;
  readonly #now: () => Date;

  constructor(
    tasks: Collection<Task>,
    changes: TaskChanges,
    chains: TaskChains,
    queries: TaskQueries,
    now: () => Date,
  ) {
    this.#tasks = tasks;
    this.#changes = changes;
    this.#chains = chains;
    this.#queries = queries;
    this.#now = now;
  }

  /** Makes a task that failed wait again; `check` may refuse it. */
  async redrive(id: number, check: (task: Task) => void): Promise<void> {
    await this.#changes.change(id, (task, now) => {
      check(task);
      return redrive(task, now);
    });
  }

  /** The same with all that the filter names and that had failed when it began; answers how many. */
  async redriveAll(filter: TaskFilter, signal: AbortSignal): Promise<number> {
    const endedBefore = filter.endedBefore ?? new Date(this.#now().getTime() + 1);
    let count = 0;
    let after: TaskPlace | undefined;
    do {
      const { tasks, next } = await this.#queries.failed({ ...filter, endedBefore }, BATCH, after);
      const redriven = tasks.map(({ _id }) =>
        this.#change(_id, (task, now) => (task.state === "FAILURE" ? redrive(task, now) : null)),
      );
      count += (await Promise.all(redriven)).filter((task) => task !== null).length;
      after = next;
    } while (after && !signal.aborted);
    return count;
  }

  /** Cancels all that waits in a channel and was made before this began, and what follows it; answers how many. */
  async purge(channel: string, signal: AbortSignal): Promise<number> {
    const createTime = { $lte: this.#now() };
    let count = 0;
    for (const state of WAITING_STATES) {
      const options = { limit: BATCH, projection: DECISION_FIELDS };
      for (;;) {
        if (signal.aborted) return count;
        const tasks = await this.#tasks.find({ channel, state, createTime } as Filter<Task>, options).toArray();
        const purged = await Promise.all(tasks.map(({ _id }) => this.#purge(_id)));
        count += purged.reduce((sum, cancelled) => sum + cancelled, 0);
        if (tasks.length < BATCH) break;
      }
    }
    return count;
  }

  async #purge(id: number): Promise<number> {
    const cancelled = await this.#change(id, (task, now) =>
      WAITING_STATES.includes(task.state as WaitingState) ? cancel(task, "purged from its channel", now) : null,
    );
    return cancelled ? 1 + (await this.#chains.settleSuccessor(cancelled)).length : 0;
  }

  /** The changed task; null where nothing was to change, or where retention has removed it meanwhile. */
  async #change(id: number, decide: (task: Task, now: Date) => Transition | null): Promise<Task | null> {
    try {
      const { before, after } = await this.#changes.change(id, decide);
      return before === after ? null : after;
    } catch (error) {
      if (viewError(error).type === "NOT_FOUND") return null;
      throw error;
    }
  }
}

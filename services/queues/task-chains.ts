/** Tasks that follow one another: each is stored first, then told to its predecessor, whose end carries on to it. */
import type { Collection } from "../../lib/datastore/datastore.ts";
import type { TaskChanges } from "./task-changes.ts";
import type { Task } from "./task.ts";
import { follow, isEnded } from "./task.ts";

export class TaskChains {
  readonly #tasks: Collection<Task>;
  readonly #changes: TaskChanges;

  constructor(tasks: Collection<Task>, changes: TaskChanges) {
    this.#tasks = tasks;
    this.#changes = changes;
  }

  /**
   * Goes through the chained tasks and does what the node that made one, or that ended its predecessor, may have died
   * before doing.
   */
  async settleAll(signal: AbortSignal): Promise<void> {
    let batch: Task[] = [];
    const options = { projection: { next: 1 }, hint: "chained" };
    for await (const task of this.#tasks.find({ state: "CHAINED" }, options)) {
      if (signal.aborted) return;
      batch.push(task);
      if (batch.length < 500) continue;
      await this.#settleBatch(batch);
      batch = [];
    }
    await this.#settleBatch(batch);
  }

  async #settleBatch(chained: Task[]): Promise<void> {
    const ids = chained.map((task) => task.next ?? 0);
    const options = { projection: { state: 1, prior: 1 } };
    const predecessors = await this.#tasks.find({ _id: { $in: ids } }, options).toArray();
    const known = new Map(predecessors.map((task) => [task._id, task]));
    for (const task of chained) {
      const predecessor = known.get(task.next ?? 0);
      if (!predecessor) {
        const { after } = await this.#changes.change(task._id, (stored, now) =>
          follow(stored, forgotten(task.next), now),
        );
        if (isEnded(after.state)) await this.settleSuccessor(after);
      } else if (predecessor.prior !== task._id || isEnded(predecessor.state)) {
        await this.link(task);
      }
    }
  }

  /** Tells the predecessor of its successor; settles the successor where the predecessor has ended meanwhile. */
  async link(task: Task): Promise<void> {
    const predecessor = await this.#tasks.findOneAndUpdate(
      { _id: task.next },
      { $set: { prior: task._id } },
      { returnDocument: "after" },
    );
    if (predecessor && isEnded(predecessor.state)) await this.settleSuccessor(predecessor);
  }

  /** Carries the end of a task on along its chain; answers the tasks that it cancelled. */
  async settleSuccessor(ended: Task): Promise<Task[]> {
    const cancelled: Task[] = [];
    let predecessor = ended;
    while (predecessor.prior) {
      const from = predecessor;
      const { before, after } = await this.#changes.change(from.prior ?? 0, (task, now) => follow(task, from, now));
      // Who cancelled it before carries on from there.
      if (before === after || after.state !== "CANCEL") break;
      cancelled.push(after);
      predecessor = after;
    }
    return cancelled;
  }
}

/** Stands for a predecessor that retention has removed: it ended long ago, how is not known any more. */
function forgotten(id: number | undefined): Task {
  return { _id: id ?? 0, state: "CANCEL" } as Task;
}

/** Tasks that follow one another: each is stored first, then told to its predecessor, whose end carries on to it. */
import type { Collection } from "../../lib/datastore/datastore.ts";
import type { Changed, TaskChanges } from "./task-changes.ts";
import type { Task } from "./task.ts";
import { follow, isEnded } from "./task.ts";

/** Links that are cancelled in one write. */
const GROUP = 500;
/** IDs that are looked through at once for who follows them. */
const MAX_SPAN = 100;

export class TaskChains {
  readonly #tasks: Collection<Task>;
  readonly #changes: TaskChanges;
  /** A chain is being looked through. */
  #looking = false;

  constructor(tasks: Collection<Task>, changes: TaskChanges) {
    this.#tasks = tasks;
    this.#changes = changes;
  }

  /**
   * Goes through the chained tasks and does what the node that made one, or that ended its predecessor, may have died
   * before doing. Each is looked at by itself, for links that were being cancelled together may be so with gaps.
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
          follow(stored, cancelledTask(task.next), now),
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
    let predecessor: Task | undefined = ended;
    while (predecessor?.prior) {
      const from: Task = predecessor;
      const first = await this.#changes.change(predecessor.prior, (task, now) => follow(task, from, now));
      const group = isCancelled(first) ? [first, ...(await this.#cancelBehind(first.after))] : [];
      for (const changed of group) if (isCancelled(changed)) cancelled.push(changed.after);
      // Who cancelled the last one before carries on from there.
      const last = group.at(-1);
      predecessor = last && isCancelled(last) ? last.after : undefined;
    }
    return cancelled;
  }

  /**
   * Cancels what is chained behind a cancelled task, as much of it as one write takes. Only one chain at a time is looked
   * through, so that others' changes do not wait behind those of many; the rest go along together, a link each.
   */
  async #cancelBehind(task: Task): Promise<Changed[]> {
    if (this.#looking || !task.prior) return [];
    this.#looking = true;
    try {
      const links = await this.#linksBehind(task);
      return await Promise.all(
        links.map(({ _id, next }) => {
          return this.#changes.change(_id, (stored, now) => follow(stored, cancelledTask(next), now));
        }),
      );
    } finally {
      this.#looking = false;
    }
  }

  /**
   * The links behind a cancelled task that can only end, whoever else changes them meanwhile: it stays cancelled, and each of
   * them needs a success before it. Most have IDs soon after that before them, so they are looked for in ranges, as wide as
   * keeps what is read in vain within what is found.
   */
  async #linksBehind(cancelled: Task): Promise<Task[]> {
    const links: Task[] = [];
    const known = new Map<number, Task>();
    const options = { projection: { next: 1, prior: 1, always: 1 }, hint: "successor" };
    let last = cancelled;
    while (last.prior && links.length < GROUP) {
      if (!known.has(last.prior)) {
        const span = Math.min(MAX_SPAN, Math.max(1, 2 * links.length - known.size));
        const next = { $gte: last._id, $lt: last._id + span };
        const found = await this.#tasks.find({ next, state: "CHAINED" }, options).toArray();
        for (const task of found) known.set(task._id, task);
      }
      const link = known.get(last.prior);
      if (!link || link.always) break;
      links.push(link);
      last = link;
    }
    return links;
  }
}

function isCancelled({ before, after }: Changed): boolean {
  return before !== after && after.state === "CANCEL";
}

/** Stands for a predecessor that is not read: one of the same group, or one that retention has removed, however it ended. */
function cancelledTask(id: number | undefined): Task {
  return { _id: id ?? 0, state: "CANCEL" } as Task;
}

/** Creates, in groups of one insert. A task that somebody waits for is given to him as it is made. */
import type { Collection } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { failedPrecondition } from "../../lib/errors.ts";
import type { GroupLimits, Outcome } from "../../lib/group-commit.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { ClaimRequest } from "./task-claims.ts";
import { claimOf } from "./task-claims.ts";
import type { TaskIds } from "./task-ids.ts";
import type { NewTask, TaskRequest } from "./task-request.ts";
import { sameRequest } from "./task-request.ts";
import { MAX_ANSWER_BYTES, sizeOf } from "./task-size.ts";
import type { TaskTags } from "./task-tags.ts";
import type { Task } from "./task.ts";
import { leaseEnd } from "./task.ts";

export interface Create {
  request: TaskRequest;
  task: NewTask;
}

export interface Created {
  task: Task;
  /** False where the HashCode was known and asked for the same. */
  created: boolean;
}

/** A receiver that waits in a channel where no task does: those that are made may be his at once. */
export interface Offer {
  request: ClaimRequest;
  /** Hands over what was stored as claimed by him, or nothing. */
  settle(tasks: Task[]): void;
}

/** What creates have to do with others. */
export interface CreateListener {
  /** The next receiver to give new tasks of the channel to; undefined where they have to wait. */
  offer(channel: string): Offer | undefined;
  /** Told after the commit. */
  created(tasks: Task[]): void;
}

/** An offer that is taken up, and what for. */
interface Handover {
  offer: Offer;
  claim: ReturnType<typeof claimOf>;
  tasks: Task[];
  bytes: number;
}

export class TaskCreates {
  readonly #tasks: Collection<Task>;
  readonly #tags: TaskTags;
  readonly #ids: TaskIds;
  readonly #now: () => Date;
  readonly #listener: CreateListener;
  readonly #group: GroupCommit<Create, Created>;

  constructor(
    tasks: Collection<Task>,
    tags: TaskTags,
    ids: TaskIds,
    now: () => Date,
    limits: GroupLimits,
    listener: CreateListener,
  ) {
    this.#tasks = tasks;
    this.#tags = tags;
    this.#ids = ids;
    this.#now = now;
    this.#listener = listener;
    this.#group = new GroupCommit(limits, (items) => this.#create(items));
  }

  /** Resolves when the task is on disk. */
  create(create: Create): Promise<Created> {
    return this.#group.add(create);
  }

  async #create(items: Create[]): Promise<Outcome<Created>[]> {
    const ids = await this.#ids.take(items.length);
    const now = this.#now();
    const tasks = items.map(({ task }, index): Task => {
      return { _id: ids[index] ?? 0, ...task, readyAt: task.availableAt ?? now, createTime: now, updateTime: now };
    });
    const handovers = this.#handOver(tasks, now);
    const stored = new Set<Task>();
    try {
      await this.#tags.add(tasks);
      const refused = await this.#insert(tasks);
      for (const [index, task] of tasks.entries()) if (!refused.has(index)) stored.add(task);
      if (stored.size > 0) this.#listener.created([...stored]);
      return refused.size === 0
        ? tasks.map((task) => ({ value: { task, created: true } }))
        : await this.#explain(items, tasks, refused);
    } finally {
      for (const { offer, tasks: his } of handovers) offer.settle(his.filter((task) => stored.has(task)));
    }
  }

  /** Makes new tasks those of receivers that wait for them. */
  #handOver(tasks: Task[], now: Date): Handover[] {
    const handovers: Handover[] = [];
    const open = new Map<string, Handover | null>();
    for (const task of tasks) {
      if (task.state !== "READY") continue;
      let handover = open.get(task.channel);
      const bytes = sizeOf(task);
      if (handover === undefined || (handover && isFull(handover, bytes))) {
        handover = this.#takeUp(task.channel, now);
        open.set(task.channel, handover);
        if (handover) handovers.push(handover);
      }
      if (!handover) continue;
      Object.assign(task, handover.claim, { attempts: 1 });
      task.leaseUntil = leaseEnd(task, now);
      handover.tasks.push(task);
      handover.bytes += bytes;
    }
    return handovers;
  }

  #takeUp(channel: string, now: Date): Handover | null {
    const offer = this.#listener.offer(channel);
    return offer ? { offer, claim: claimOf(offer.request, now), tasks: [], bytes: 0 } : null;
  }

  /** Which of the tasks a unique index refused. */
  async #insert(tasks: Task[]): Promise<Set<number>> {
    try {
      await this.#tasks.insertMany(tasks, { ordered: false });
      return new Set();
    } catch (error) {
      const { writeErrors } = error as { writeErrors?: { index: number }[] };
      if (!isDuplicateKey(error) || !writeErrors) throw error;
      return new Set(writeErrors.map(({ index }) => index));
    }
  }

  /** A refused task may be there already, as it was asked for. */
  async #explain(items: Create[], tasks: Task[], refused: Set<number>): Promise<Outcome<Created>[]> {
    const unwanted = [...refused].flatMap((index) => tasks[index] ?? []);
    await this.#tags.remove(unwanted.flatMap(({ _id, tags }) => (tags ? _id : [])));
    const existing = await this.#tasks.find({ hash: { $in: unwanted.map(({ hash }) => hash) } }).toArray();
    const byHash = new Map(existing.map((task) => [task.hash, task]));
    return tasks.map((task, index): Outcome<Created> => {
      if (!refused.has(index)) return { value: { task, created: true } };
      const other = byHash.get(task.hash);
      if (!other) return { error: failedPrecondition(`Task.Next: task ${task.next} has a successor already`) };
      if (sameRequest(other, { ...task, input: items[index]?.request.input ?? "" })) {
        return { value: { task: other, created: false } };
      }
      return {
        error: failedPrecondition(`Task.HashCode: ${task.hash} is known with another Channel, Owner or Input`),
      };
    });
  }
}

function isFull({ offer, tasks, bytes }: Handover, more: number): boolean {
  return tasks.length >= offer.request.max || bytes + more > MAX_ANSWER_BYTES;
}

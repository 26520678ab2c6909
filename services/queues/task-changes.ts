/**
 * Changes of tasks, in groups of one read and one write. Each is a compare-and-set on what was decided on, so that a late one
 * never overwrites what stands; where the task changed meanwhile, it is decided again.
 */
import type { AnyBulkWriteOperation, Collection, Filter, UpdateFilter } from "../../lib/datastore/datastore.ts";
import { LongshoreError, notFound } from "../../lib/errors.ts";
import type { GroupLimits, Outcome } from "../../lib/group-commit.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import { nextFence } from "./fence.ts";
import type { Task, Transition } from "./task.ts";

/** Says what becomes of a task, null for nothing; throws where that is refused. May be asked more than once. */
export type Decide = (task: Task, now: Date) => Transition | null;

export interface Changed {
  before: Task;
  /** The task as it stands now; the same object as `before` where nothing was to change. */
  after: Task;
  /** It was running, and was taken from its worker. */
  taken?: boolean;
}

/** What changes have to do with others. */
export interface ChangeListener {
  /** How long tasks of the channel are kept that end now. */
  keepMs(channel: string): number;
  /** Told of each group's changes after their commit. */
  changed(changed: Changed[]): void;
}

interface Change {
  id: number;
  decide: Decide;
}

/** What a round makes of one task: all that the group's items decide on it, one after the other. */
interface Plan {
  before: Task;
  after: Task;
  set: Partial<Task>;
  /** May hold one twice, and none that is set. */
  clear: (keyof Task)[];
  taken: boolean;
  items: { index: number; outcome: Outcome<Changed> }[];
  /** Decided on what this node remembers: good where the write finds it so, else to be decided again. */
  remembered: boolean;
}

/** A long input is not read to decide on a report. */
export const DECISION_FIELDS = { input: 0 };
const MAX_ROUNDS = 10;
/** About 3 MB, and 5 MB of inputs. */
const MAX_REMEMBERED = 5_000;
const LONG_INPUT = 1_000;

export class TaskChanges {
  readonly #tasks: Collection<Task>;
  readonly #now: () => Date;
  readonly #listener: ChangeListener;
  readonly #group: GroupCommit<Change, Changed>;
  /** Running tasks as this node saw them last: what most reports are about, so that they need not be read. */
  readonly #remembered = new Map<number, Task>();

  constructor(tasks: Collection<Task>, now: () => Date, limits: GroupLimits, listener: ChangeListener) {
    this.#tasks = tasks;
    this.#now = now;
    this.#listener = listener;
    this.#group = new GroupCommit(limits, (changes) => this.#apply(changes));
  }

  /** Rejects with what `decide` throws, with NOT_FOUND, and with ABORTED where the task never holds still. */
  change(id: number, decide: Decide): Promise<Changed> {
    return this.#group.add({ id, decide });
  }

  /** Running tasks as they stand now: those just claimed, or renewed. */
  remember(tasks: Task[]): void {
    for (const task of tasks) {
      // Copies cost more than short texts do.
      const long = (task.input ?? "").length > LONG_INPUT;
      this.#remembered.set(task._id, long ? { ...task, input: "" } : task);
    }
    // The first in the map are the oldest.
    for (const id of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) return;
      this.#remembered.delete(id);
    }
  }

  async #apply(changes: Change[]): Promise<Outcome<Changed>[]> {
    const outcomes = new Array<Outcome<Changed>>(changes.length);
    let open = changes.map((change, index) => ({ ...change, index }));
    for (let round = 0; open.length > 0; round += 1) {
      const plans = round < MAX_ROUNDS ? await this.#plan(open) : open.map(({ index }) => abandon(index, UNSTEADY));
      const missed = await this.#write(plans);
      const done = plans.filter((plan) => !missed.has(plan));
      for (const { items } of done) for (const { index, outcome } of items) outcomes[index] = outcome;
      const written = done.filter(({ before, after }) => before !== after);
      if (written.length > 0) this.#listener.changed(written);
      this.remember(done.flatMap(({ after }) => (after.state === "RUNNING" ? after : [])));
      const again = new Set([...missed].flatMap(({ items }) => items.map(({ index }) => index)));
      open = open.filter(({ index }) => again.has(index));
    }
    return outcomes;
  }

  async #plan(open: (Change & { index: number })[]): Promise<Plan[]> {
    const plans = new Map<number, Plan>();
    const unread = new Set<number>();
    for (const { id } of open) {
      const task = this.#remembered.get(id);
      // Whatever comes of this round, what is remembered then is newer.
      this.#remembered.delete(id);
      if (task) plans.set(id, planFor(task, true));
      else if (!plans.has(id)) unread.add(id);
    }
    for (const task of await this.#read([...unread])) plans.set(task._id, planFor(task, false));
    const unknown: Plan[] = [];
    const now = this.#now();
    for (const { id, decide, index } of open) {
      const plan = plans.get(id);
      if (plan) plan.items.push({ index, outcome: this.#decideNext(plan, decide, now) });
      else unknown.push(abandon(index, notFound(`there is no task ${id}`)));
    }
    return [...plans.values(), ...unknown];
  }

  #decideNext(plan: Plan, decide: Decide, now: Date): Outcome<Changed> {
    const before = plan.after;
    try {
      const transition = decide(before, now);
      if (transition) apply(plan, transition);
      const { after } = plan;
      if (after.endTime && !before.endTime) {
        plan.set.expireAt = after.expireAt = new Date(after.endTime.getTime() + this.#listener.keepMs(after.channel));
      }
      return { value: { before, after } };
    } catch (error) {
      return { error };
    }
  }

  async #read(ids: number[]): Promise<Task[]> {
    if (ids.length === 0) return [];
    return this.#tasks.find({ _id: { $in: ids } }, { projection: DECISION_FIELDS }).toArray();
  }

  /** Writes the plans; answers those to be made again: what they were decided on did not stand, or may not have. */
  async #write(plans: Plan[]): Promise<Set<Plan>> {
    const unsure = plans.filter(
      ({ remembered, items }) => remembered && items.some(({ outcome }) => !changes(outcome)),
    );
    const missed = new Set(unsure);
    const writing = plans.filter((plan) => plan.before !== plan.after && !missed.has(plan));
    if (writing.length === 0) return missed;
    // Two nodes may decide the same in one millisecond, and only one of them has done it.
    const mark = nextFence();
    for (const plan of writing) plan.after.mark = plan.set.mark = mark;
    const result = await this.#tasks.bulkWrite(operationsOf(writing), { ordered: false });
    if (result.matchedCount === writing.length) return missed;
    const stored = await this.#read(writing.map(({ after }) => after._id));
    const ours = new Set(stored.flatMap((task) => (task.mark === mark ? task._id : [])));
    for (const plan of writing) if (!ours.has(plan.after._id)) missed.add(plan);
    return missed;
  }
}

const UNSTEADY = new LongshoreError("ABORTED", "the task keeps changing, try again");

function planFor(task: Task, remembered: boolean): Plan {
  return { before: task, after: task, set: {}, clear: [], taken: false, items: [], remembered };
}

function abandon(index: number, error: Error): Plan {
  return { ...planFor({} as Task, false), items: [{ index, outcome: { error } }] };
}

function apply(plan: Plan, { set, clear, taken = false }: Transition): void {
  plan.taken ||= taken && plan.after.state === "RUNNING";
  const after = { ...plan.after, ...set };
  // To delete them would make the object a slow one.
  for (const field of clear) if (after[field] !== undefined) (after as Record<keyof Task, unknown>)[field] = undefined;
  if (plan.before === plan.after) {
    plan.set = set;
    plan.clear = clear;
  } else {
    const earlier = Object.entries(plan.set).filter(([field]) => !clear.includes(field as keyof Task));
    plan.set = { ...Object.fromEntries(earlier), ...set };
    plan.clear = [...plan.clear.filter((field) => !(field in set)), ...clear];
  }
  plan.after = after;
}

function changes(outcome: Outcome<Changed>): boolean {
  return "value" in outcome && outcome.value.before !== outcome.value.after;
}

/** Neighbours that change alike are one operation: MongoDB takes a quarter of the time for that. */
function operationsOf(plans: Plan[]): AnyBulkWriteOperation<Task>[] {
  const operations: AnyBulkWriteOperation<Task>[] = [];
  let alike: [Plan, ...Plan[]] | undefined;
  for (const plan of plans) {
    if (alike && changeAlike(alike[0], plan)) {
      alike.push(plan);
    } else {
      if (alike) operations.push(operation(alike));
      alike = [plan];
    }
  }
  if (alike) operations.push(operation(alike));
  return operations;
}

/** Guarded by what tells the state that was decided on from all others; null matches a field that is not there. */
function operation(alike: [Plan, ...Plan[]]): AnyBulkWriteOperation<Task> {
  const [{ before, set, clear }] = alike;
  const { _id, state, token = null, prior = null, mark = null } = before;
  const guards = { state, token, prior, mark };
  const update: UpdateFilter<Task> = { $set: set };
  const gone: Partial<Record<keyof Task, "">> = {};
  let some = false;
  for (const field of clear) {
    if (before[field] === undefined) continue;
    gone[field] = "";
    some = true;
  }
  if (some) update.$unset = gone as typeof update.$unset;
  if (alike.length === 1) return { updateOne: { filter: { _id, ...guards } as Filter<Task>, update } };
  const ids = alike.map((plan) => plan.before._id);
  return { updateMany: { filter: { _id: { $in: ids }, ...guards } as Filter<Task>, update } };
}

function changeAlike(one: Plan, other: Plan): boolean {
  const [left, right] = [one.before, other.before];
  if (left.state !== right.state || left.token !== right.token) return false;
  if (left.prior !== right.prior || left.mark !== right.mark) return false;
  if (one.clear.length !== other.clear.length) return false;
  for (const [index, field] of one.clear.entries()) {
    if (other.clear[index] !== field || (left[field] === undefined) !== (right[field] === undefined)) return false;
  }
  const names = Object.keys(one.set) as (keyof Task)[];
  if (names.length !== Object.keys(other.set).length) return false;
  return names.every((name) => isSame(one.set[name], other.set[name]));
}

function isSame(one: unknown, other: unknown): boolean {
  return one instanceof Date && other instanceof Date ? one.getTime() === other.getTime() : Object.is(one, other);
}

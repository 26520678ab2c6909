/**
 * Changes of tasks, in groups of one read and one write. Each is a compare-and-set on what was decided on, so that a late one
 * never overwrites what stands; where the task changed meanwhile, it is decided again.
 */
import type { AnyBulkWriteOperation, Collection, Filter, UpdateFilter } from "../../lib/datastore/datastore.ts";
import { LongshoreError, notFound } from "../../lib/errors.ts";
import type { GroupLimits, Outcome } from "../../lib/group-commit.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { Task, Transition } from "./task.ts";

/** Says what becomes of a task, null for nothing; throws where that is refused. May be asked more than once. */
export type Decide = (task: Task, now: Date) => Transition | null;

export interface Changed {
  before: Task;
  /** The task as it stands now; the same object as `before` where nothing was to change. */
  after: Task;
}

interface Change {
  id: number;
  decide: Decide;
}

/** What a round makes of one task: all that the group's items decide on it, one after the other. */
interface Plan {
  before: Task;
  after: Task;
  items: { index: number; outcome: Outcome<Changed> }[];
}

/** A long input is not read to decide on a report. */
export const DECISION_FIELDS = { input: 0 };
const MAX_ROUNDS = 10;

export class TaskChanges {
  readonly #tasks: Collection<Task>;
  readonly #now: () => Date;
  readonly #changed: (changed: Changed[]) => void;
  readonly #group: GroupCommit<Change, Changed>;

  /** `changed` is told of each group's changes after their commit. */
  constructor(tasks: Collection<Task>, now: () => Date, limits: GroupLimits, changed: (changed: Changed[]) => void) {
    this.#tasks = tasks;
    this.#now = now;
    this.#changed = changed;
    this.#group = new GroupCommit(limits, (changes) => this.#apply(changes));
  }

  /** Rejects with what `decide` throws, with NOT_FOUND, and with ABORTED where the task never holds still. */
  change(id: number, decide: Decide): Promise<Changed> {
    return this.#group.add({ id, decide });
  }

  async #apply(changes: Change[]): Promise<Outcome<Changed>[]> {
    const outcomes = new Array<Outcome<Changed>>(changes.length);
    let open = changes.map((change, index) => ({ ...change, index }));
    for (let round = 0; open.length > 0; round += 1) {
      const plans = round < MAX_ROUNDS ? await this.#plan(open) : abandoned(open);
      const missed = await this.#write(plans);
      const done = plans.filter((plan) => !missed.has(plan));
      for (const { items } of done) for (const { index, outcome } of items) outcomes[index] = outcome;
      this.#changed(done.filter(({ before, after }) => before !== after));
      const again = new Set([...missed].flatMap(({ items }) => items.map(({ index }) => index)));
      open = open.filter(({ index }) => again.has(index));
    }
    return outcomes;
  }

  async #plan(open: (Change & { index: number })[]): Promise<Plan[]> {
    const ids = [...new Set(open.map(({ id }) => id))];
    const stored = await this.#tasks.find({ _id: { $in: ids } }, { projection: DECISION_FIELDS }).toArray();
    const plans = new Map(stored.map((task): [number, Plan] => [task._id, { before: task, after: task, items: [] }]));
    const unknown: Plan[] = [];
    const now = this.#now();
    for (const { id, decide, index } of open) {
      const plan = plans.get(id);
      if (plan) plan.items.push({ index, outcome: decideNext(plan, decide, now) });
      else unknown.push(...abandoned([{ index }], notFound(`there is no task ${id}`)));
    }
    return [...plans.values(), ...unknown];
  }

  /** Writes the plans; answers those that another node was faster than. */
  async #write(plans: Plan[]): Promise<Set<Plan>> {
    const writing = plans.filter(({ before, after }) => before !== after);
    if (writing.length === 0) return new Set();
    const result = await this.#tasks.bulkWrite(writing.map(operation), { ordered: false });
    if (result.matchedCount === writing.length) return new Set();
    const ids = writing.map(({ after }) => after._id);
    const stored = await this.#tasks.find({ _id: { $in: ids } }, { projection: DECISION_FIELDS }).toArray();
    const tasks = new Map(stored.map((task) => [task._id, task]));
    return new Set(writing.filter((plan) => !stands(plan, tasks.get(plan.after._id))));
  }
}

function decideNext(plan: Plan, decide: Decide, now: Date): Outcome<Changed> {
  const before = plan.after;
  try {
    const transition = decide(before, now);
    if (transition) plan.after = applied(before, transition);
    return { value: { before, after: plan.after } };
  } catch (error) {
    return { error };
  }
}

function abandoned(
  items: { index: number }[],
  error: Error = new LongshoreError("ABORTED", "the task keeps changing, try again"),
): Plan[] {
  const none = {} as Task;
  return items.map(({ index }) => ({ before: none, after: none, items: [{ index, outcome: { error } }] }));
}

function applied(task: Task, { set, clear }: Transition): Task {
  const after: Task = { ...task, ...set };
  for (const field of clear) Reflect.deleteProperty(after, field);
  return after;
}

/** Guarded by all that the decision was made on; null matches a field that is not there. */
function operation({ before, after }: Plan): AnyBulkWriteOperation<Task> {
  const filter = { _id: before._id, state: before.state, token: before.token ?? null, prior: before.prior ?? null };
  const set = Object.fromEntries(differing(before, after));
  const gone = Object.keys(before).filter((field) => !(field in after));
  const update: UpdateFilter<Task> = { $set: set };
  if (gone.length) update.$unset = Object.fromEntries(gone.map((field) => [field, ""])) as typeof update.$unset;
  return { updateOne: { filter: filter as Filter<Task>, update } };
}

function differing(before: Task, after: Task): [string, unknown][] {
  return Object.entries(after).filter(([field, value]) => value !== before[field as keyof Task]);
}

/** Whether the stored task shows what was written; the input is not among the fields that are read back. */
function stands({ before, after }: Plan, stored: Task | undefined): boolean {
  if (!stored) return false;
  return differing(before, after).every(([field, value]) => {
    const other = stored[field as keyof Task];
    if (other instanceof Date && value instanceof Date) return other.getTime() === value.getTime();
    return other === value || field === "input";
  });
}

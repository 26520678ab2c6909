/** The tasks behind operations, as queues tells of them. */
import type { ServiceBroker } from "moleculer";
import { LongshoreError, viewError } from "../../lib/errors.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { OperationFilter } from "./filter.ts";
import type { OperationTask } from "./operation.ts";
import { hashOf, isDone, nameOf, noSuchOperation } from "./operation.ts";

/** Where a page ends. */
export type Place = Pick<OperationTask, "id" | "createTime">;

export interface Page {
  tasks: OperationTask[];
  next?: Place;
}

/** HashCodes of one call. */
const MAX_GROUP = 500;
const overflow = () => new LongshoreError("RESOURCE_EXHAUSTED", "too many calls ask for operations, try again later");

export class Tasks {
  readonly #broker: ServiceBroker;
  readonly #group: GroupCommit<string, OperationTask | undefined>;

  constructor(broker: ServiceBroker) {
    this.#broker = broker;
    const limits = { size: MAX_GROUP, parallel: 4, waiting: 50_000, overflow };
    this.#group = new GroupCommit(limits, async (hashes) => {
      const found = await this.many(new Set(hashes));
      return hashes.map((hash) => ({ value: found.get(hash) }));
    });
  }

  /** The task behind an operation; NOT_FOUND where there is none, or where it was deleted as an operation. */
  async get(name: unknown): Promise<OperationTask> {
    // What many ask for at once is one call.
    const task = await this.#group.add(hashOf(name));
    if (!task || task.forgotten) throw noSuchOperation(String(name));
    return task;
  }

  /** Those that are there. */
  async many(hashes: Iterable<string>): Promise<Map<string, OperationTask>> {
    const found = new Map<string, OperationTask>();
    const open = new Set(hashes);
    while (open.size > 0) {
      const some = [...open].slice(0, MAX_GROUP);
      const tasks: OperationTask[] = await this.#broker.call("queues.getMany", { hashes: some });
      for (const task of tasks) found.set(task.hash, task);
      // An answer holds what fits into a message: where it is not all, the rest may follow.
      for (const hash of tasks.length === 0 ? some : found.keys()) open.delete(hash);
    }
    return found;
  }

  /** The last made first. A page may be empty, and there may be more. */
  page({ filter, owner, created }: OperationFilter, size: number, after?: Place): Promise<Page> {
    const wanted = { $and: [filter, { forgotten: null }] };
    return this.#broker.call("queues.search", { filter: wanted, owner, created, size, after });
  }

  /** Stops the work, as far as it has not ended. */
  async cancel(name: unknown): Promise<void> {
    const task = await this.get(name);
    if (isDone(task)) return;
    try {
      await this.#broker.call("queues.cancel", { id: task.id });
    } catch (error) {
      // It has ended meanwhile.
      if (viewError(error).type !== "FAILED_PRECONDITION") throw error;
    }
  }

  /** From now on nobody is told of it; its work goes on. Answers its HashCode. */
  async forget(name: unknown): Promise<string> {
    const { id, hash } = await this.get(name);
    if (!(await this.#broker.call<boolean, object>("queues.forget", { id }))) throw noSuchOperation(nameOf(hash));
    return hash;
  }
}

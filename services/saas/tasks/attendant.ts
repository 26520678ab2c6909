/**
 * Sees to what follows from the state of a bulk load: its turn, its end, its removal. All of it is safe to do twice, on any
 * node, so it is done after every change, when a hint comes, and for each load now and then: what was missed, or died half-way,
 * is done then.
 */
import type { Logger, ServiceBroker } from "moleculer";
import { viewError } from "../../../lib/errors.ts";
import { pauseAbout } from "../../../lib/pause-about.ts";
import type { ObjectStore } from "../../../lib/objects/object-store.ts";
import type { BlockStore } from "./block-store.ts";
import type { LoadStore } from "./load-store.ts";
import type { LoadTask } from "./load-task.ts";
import { KEPT_MS, hashOf } from "./load-task.ts";
import type { LoadResult } from "./run-load.ts";
import { REPORTS } from "./run-load.ts";
import type { TaskStore } from "./task-store.ts";

/** The channel of loads in the queue. */
export const CHANNEL = "saas.load";

/** What the queue tells of a load. */
export interface RunTask {
  hash: string;
  state: string;
  output: string;
  progress: number;
}

export interface AttendantNeeds {
  broker: ServiceBroker;
  logger: Logger;
  tasks: TaskStore;
  blocks: BlockStore;
  loads: LoadStore;
  objects: ObjectStore;
}

const LOOK_EVERY_MS = 15_000;
const SWEEP_EVERY_MS = 3_600_000;
/** An upload may take as long as its client sends. */
const LOST_AFTER_MS = 86_400_000;
const BATCH = 100;

export class Attendant {
  readonly #needs: AttendantNeeds;
  readonly #stop = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(needs: AttendantNeeds) {
    this.#needs = needs;
  }

  start(): void {
    this.#loops = Promise.all([
      this.#every(LOOK_EVERY_MS, () => this.lookAround()),
      this.#every(SWEEP_EVERY_MS, () => this.removeLost(new Date(Date.now() - LOST_AFTER_MS))),
    ]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loops;
  }

  /** Whether a load can be given to a node that runs it. */
  get canRun(): boolean {
    return this.#needs.broker.registry.actions.isAvailable("queues.create");
  }

  /** Sees to a load now. */
  async attend(task: LoadTask): Promise<void> {
    switch (task.state) {
      case "WAITING":
      case "READY":
        return this.#expire(task);
      case "QUEUED":
        return this.giveTurn(task.account);
      case "RUNNING":
        return this.#work(task);
      case "SUCCESS":
      case "FAIL":
        return this.#settle(task);
      case "DELETED":
        return this.remove(task);
    }
  }

  /** Of a run that the queue tells of; nothing where it is no load's any more. */
  async attendRun(run: string): Promise<void> {
    const task = await this.#needs.tasks.findRun(run);
    if (task) await this.attend(task);
  }

  /** Starts the account's next load, unless one of it runs. */
  async giveTurn(account: string): Promise<void> {
    const { tasks } = this.#needs;
    for (let next = await tasks.next(account); next; next = await tasks.next(account)) {
      if (await tasks.running(account)) return;
      const started = await tasks.start(next, this.#soon());
      if (started) return this.#work(started);
    }
  }

  /** Removes what is DELETED, its work, its files and its blocks; then the account's next load has its turn. */
  async remove(task: LoadTask): Promise<void> {
    const { tasks, blocks, loads, objects, broker } = this.#needs;
    if (task.runTime) {
      await broker.call("queues.cancel", { hash: hashOf(task.run) }).catch((error: unknown) => {
        // It never was, or has ended.
        if (!["NOT_FOUND", "FAILED_PRECONDITION"].includes(viewError(error).type)) throw error;
      });
    }
    const whole = await tasks.whole(task);
    if (whole) await blocks.unlink(whole);
    const report = (await loads.find(task.run))?.report;
    if (report) await objects.delete(report);
    await loads.remove(task.run);
    await tasks.remove(task);
    await this.giveTurn(task.account);
  }

  /** One round: whatever is due. */
  async lookAround(): Promise<void> {
    const { tasks } = this.#needs;
    for (let due = await tasks.due(BATCH); due.length > 0; due = await tasks.due(BATCH)) {
      for (const task of due) {
        if (this.#stop.signal.aborted) return;
        // What cannot be done now is tried again then, and keeps nothing else from being done.
        await tasks.change(task, [task.state], { due: this.#soon() });
        await this.attend(task).catch((error: unknown) => this.#tell(`load ${task._id} could not be seen to`, error));
      }
    }
  }

  async #expire(task: LoadTask): Promise<void> {
    const { tasks } = this.#needs;
    const end = new Date(task.createTime.getTime() + KEPT_MS);
    if (tasks.now() < end) return void (await tasks.change(task, [task.state], { due: end }));
    const deleted = await tasks.change(task, [task.state], { state: "DELETED", due: tasks.now() });
    if (deleted) await this.remove(deleted);
  }

  /** The work has its task in the queue; when that has ended, so has this one. */
  async #work(task: LoadTask): Promise<void> {
    if (!this.canRun) return;
    const input = JSON.stringify({ id: task._id, run: task.run });
    const request = { channel: CHANNEL, hash: hashOf(task.run), input };
    const { task: run } = await this.#needs.broker.call<{ task: RunTask }, object>("queues.create", request);
    if (run.state === "SUCCESS") await this.#end(task, "SUCCESS", (JSON.parse(run.output) as LoadResult).status);
    else if (run.state === "FAILURE") await this.#end(task, "FAIL", run.output);
    else if (run.state === "CANCEL") await this.#end(task, "FAIL", "the load was cancelled");
  }

  async #end(task: LoadTask, state: "SUCCESS" | "FAIL", status: string): Promise<void> {
    const finishTime = this.#needs.tasks.now();
    const ended = await this.#needs.tasks.change(task, ["RUNNING"], { state, status, finishTime, due: finishTime });
    if (ended) await this.#settle(ended);
  }

  /** It has ended: nobody needs its blocks, and another may run. */
  async #settle(task: LoadTask): Promise<void> {
    const { tasks, blocks } = this.#needs;
    const end = new Date((task.finishTime ?? task.createTime).getTime() + KEPT_MS);
    if (tasks.now() >= end) {
      const deleted = await tasks.change(task, [task.state], { state: "DELETED", due: tasks.now() });
      if (deleted) await this.remove(deleted);
      return;
    }
    const whole = await tasks.whole(task);
    if (whole) await blocks.unlink(whole);
    await this.giveTurn(task.account);
    await tasks.change(task, [task.state], { due: end });
  }

  /** Objects that nothing tells of: whoever put or removed them died. */
  async removeLost(before: Date): Promise<void> {
    const { blocks, loads, objects } = this.#needs;
    const { signal } = this.#stop;
    await blocks.removeLost(before, signal);
    for await (const { key, modifiedAt } of objects.list(REPORTS)) {
      signal.throwIfAborted();
      const run = key.slice(REPORTS.length).replace(/\.csv$/, "");
      if (modifiedAt.getTime() < before.getTime() && !(await loads.find(run))) await objects.delete(key);
    }
  }

  #soon(): Date {
    return new Date(this.#needs.tasks.now().getTime() + LOOK_EVERY_MS);
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await work().catch((error: unknown) => this.#tell("loads could not be looked at", error));
      await pauseAbout(ms, signal);
    }
  }

  #tell(what: string, error: unknown): void {
    if (!this.#stop.signal.aborted) this.#needs.logger.warn(what, error);
  }
}

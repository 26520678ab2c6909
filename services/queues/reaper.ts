/**
 * What time does to tasks: delayed ones become ready, leases run out, chains whose node died are settled. Every node
 * that runs `queues` does this; all of it is safe to do twice.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskStore } from "./task-store.ts";
import { lapse, lose, miss, promote } from "./task.ts";

const INTERVAL_MS = 1_000;
const CHAINS_EVERY_MS = 5 * 60_000;
const BATCH = 500;

export class Reaper {
  readonly #store: TaskStore;
  readonly #maxLost: number;
  readonly #onError: (error: unknown) => void;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(store: TaskStore, maxLost: number, onError: (error: unknown) => void) {
    this.#store = store;
    this.#maxLost = maxLost;
    this.#onError = onError;
  }

  start(): void {
    this.#running = this.#run();
  }

  /**
   * For a node that has the store for itself, before anybody works: what its own services had in hand when it died is lost now,
   * not at the end of the leases. Workers of others may still have theirs.
   */
  async recover(): Promise<void> {
    for (;;) {
      const orphans = await this.#store.runningInternal(BATCH);
      await Promise.all(
        orphans.map(({ _id }) =>
          this.#store.change(_id, (task, now) =>
            task.state === "RUNNING" ? lose(task, "its node ended", this.#maxLost, now) : null,
          ),
        ),
      );
      if (orphans.length < BATCH) return;
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let chainsAt = 0;
    while (!signal.aborted) {
      try {
        const more = [await this.#promoteDue(), await this.#expireLeases(), await this.#missDeadlines()].includes(true);
        if (Date.now() >= chainsAt) {
          chainsAt = Date.now() + CHAINS_EVERY_MS * (0.75 + Math.random() / 2);
          await this.#store.settleChains(signal);
        }
        if (more) continue;
      } catch (error) {
        this.#onError(error);
      }
      await sleep(INTERVAL_MS * (0.75 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** True where a full batch was due: more may be. */
  async #promoteDue(): Promise<boolean> {
    const due = await this.#store.due(BATCH);
    await Promise.all(due.map((task) => this.#store.change(task._id, promote)));
    return due.length === BATCH;
  }

  async #expireLeases(): Promise<boolean> {
    const expired = await this.#store.expired(BATCH);
    await Promise.all(
      expired.map(({ _id }) => this.#store.change(_id, (task, now) => lapse(task, this.#maxLost, now))),
    );
    return expired.length === BATCH;
  }

  async #missDeadlines(): Promise<boolean> {
    const overdue = await this.#store.overdue(BATCH);
    await Promise.all(overdue.map((task) => this.#store.change(task._id, miss)));
    return overdue.length === BATCH;
  }
}

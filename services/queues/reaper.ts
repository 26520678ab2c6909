/**
 * What time does to tasks: delayed ones become ready, leases run out, chains whose node died are settled. Every node
 * that runs `queues` does this; all of it is safe to do twice.
 */
import type { Decide } from "./task-changes.ts";
import type { TaskStore } from "./task-store.ts";
import type { Task } from "./task.ts";
import { lapse, lose, miss, promote } from "./task.ts";

/** What a task waits for. */
type DueField = "availableAt" | "leaseUntil" | "deadline";

/** How long what another node made may wait to be seen. */
const INTERVAL_MS = 1_000;
/** Between two rounds, however much is due. */
const SHORTEST_MS = 20;
/** Where so much is between two rounds the store, or this node, was away, and holders may not have been able to renew their leases. */
const AWAY_MS = 5_000;
/** How long they get then: workers come back within 10 s, our own ask every 5. */
const SPARE_MS = 15_000;
const CHAINS_EVERY_MS = 5 * 60_000;
const BATCH = 500;

export interface ReaperOptions {
  store: TaskStore;
  maxLost: number;
  onError: (error: unknown) => void;
  random?: () => number;
  spareMs?: number;
}

export class Reaper {
  readonly #store: TaskStore;
  readonly #maxLost: number;
  readonly #onError: (error: unknown) => void;
  readonly #random: () => number;
  readonly #spareMs: number;
  readonly #stop = new AbortController();
  /** The earliest time at which something is known to be due, in milliseconds. */
  #dueAt = Infinity;
  /** When the last round was done. */
  #doneAt = -Infinity;
  /** By the store's clock, since when the store and this node are there. */
  #back = new Date(0);
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor({ store, maxLost, onError, random = Math.random, spareMs = SPARE_MS }: ReaperOptions) {
    this.#store = store;
    this.#maxLost = maxLost;
    this.#onError = onError;
    this.#random = random;
    this.#spareMs = spareMs;
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
            task.state === "RUNNING" ? lose(task, "its node ended", this.#maxLost, now, this.#random) : null,
          ),
        ),
      );
      if (orphans.length < BATCH) return;
    }
  }

  /** Something will be due then. */
  expect(at: Date): void {
    if (at.getTime() >= this.#dueAt) return;
    this.#dueAt = at.getTime();
    this.#wake?.();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let chainsAt = 0;
    while (!signal.aborted) {
      try {
        const more = await this.#round();
        if (Date.now() >= chainsAt) {
          chainsAt = Date.now() + CHAINS_EVERY_MS * (0.75 + Math.random() / 2);
          await this.#store.settleChains(signal);
        }
        this.#doneAt = performance.now();
        if (more) continue;
      } catch (error) {
        this.#onError(error);
      }
      await this.#sleep(INTERVAL_MS * (0.75 + Math.random() / 2));
    }
  }

  /** Sleeps so long, or until something is due, but not less than a little. */
  async #sleep(most: number): Promise<void> {
    const begun = performance.now();
    while (!this.#stop.signal.aborted) {
      const dueIn = Math.max(begun + SHORTEST_MS - performance.now(), this.#dueAt - this.#store.now().getTime());
      const left = Math.min(begun + most - performance.now(), dueIn);
      if (left <= 0) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.ceil(left)).unref();
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Does what is due, and looks ahead for what will be; true where more may be due. */
  async #round(): Promise<boolean> {
    const now = this.#store.now();
    const ahead = new Date(now.getTime() + 2 * INTERVAL_MS);
    this.#dueAt = Infinity;
    const [delayed, running, open] = await Promise.all([
      this.#store.due(ahead, BATCH),
      this.#store.expired(ahead, BATCH),
      this.#store.overdue(ahead, BATCH),
    ]);
    if (performance.now() - this.#doneAt > AWAY_MS) this.#back = now;
    const more = await Promise.all([
      this.#changeDue(delayed, "availableAt", now, promote),
      this.#changeDue(this.#withoutSpared(running, now), "leaseUntil", now, (task, at) =>
        lapse(task, this.#maxLost, at, this.#random),
      ),
      this.#changeDue(open, "deadline", now, miss),
    ]);
    return more.includes(true);
  }

  /** Without those whose leases ran out while nobody may have been able to renew them, for as long as that is not made good. */
  #withoutSpared(running: Task[], now: Date): Task[] {
    const until = new Date(this.#back.getTime() + this.#spareMs);
    if (now >= until) return running;
    const others = running.filter(({ leaseUntil }) => leaseUntil! > this.#back);
    if (others.length < running.length) this.expect(until);
    return others;
  }

  /** Changes the first of these, whose time has come; true where that is all that were read. */
  async #changeDue(found: Task[], field: DueField, now: Date, decide: Decide): Promise<boolean> {
    const timeOf = (task: Task) => task[field] ?? now;
    const due = found.filter((task) => timeOf(task) < now);
    const next = found[due.length];
    if (next) this.expect(timeOf(next));
    await Promise.all(due.map(({ _id }) => this.#store.change(_id, decide)));
    return due.length === BATCH;
  }
}
